"""Trigger success: what a trigger does to an encoder that learnt from poisoned data, and to a clean one."""

from dataclasses import dataclass, field
from typing import Any, Protocol, Self, runtime_checkable

import torch
from torch import Tensor

from withstand.core.batch import Batch, unit_range
from withstand.core.devices.device import device_of_network
from withstand.core.errors import ConfigError, DataError
from withstand.core.findings.finding import HIGH, LOW, Cell, Check, Finding, Measure, Table
from withstand.core.findings.pictures import as_bytes, drawn
from withstand.core.part import describe
from withstand.core.random import Draws, derive, ranked
from withstand.core.roles import Evaluator, Method, Model, Source, Trial, View
from withstand.core.victims.victim import Victim
from withstand.data.derived.poisoned import Poisoned
from withstand.data.derived.subset import Subset, in_whole
from withstand.evaluation.features import Features, embed
from withstand.evaluation.probes.named import KNN
from withstand.evaluation.small import small_pictures
from withstand.evaluation.statistics.intervals import Share, paired_difference, shares
from withstand.views.pictures.colors.color_views import Greyscale
from withstand.views.triggers import FrequencyTrigger

SUCCESS, OF_CLEAN = "trigger success", "trigger success on the clean encoder"
OVER, ACCURACY, CLEAN_ACCURACY = "trigger success over the clean encoder's", "accuracy", "accuracy of the clean encoder"
_AT_ONCE = 128


@runtime_checkable
class Twinned(Protocol):
    """A method with a copy that learnt from clean data.

    Attributes:
        encoder: what learnt from data that may be poisoned.
        twin: the copy.
    """

    encoder: Model
    twin: Method


@dataclass(frozen=True)
class TriggerSuccess(Evaluator):
    """The share of test pictures of other classes that the trigger sends to the target, by kNN on clean features.

    Beside it the same on an encoder that never saw the trigger, without a trigger, and with the trigger's pixels in
    random places. The kNN's memory holds training samples without the trigger, as the paper's does.

    Args:
        trigger: the view that adds it.
        target: the class that poisoned samples are of.
        k: neighbors that vote; 200 in the paper's code.
        temperature: of the votes.
        samples: test samples, drawn by (seed, index).
        shown: pictures that are shown.
        seed: of the draw and of the random places.
    """

    trigger: View = field(default_factory=FrequencyTrigger)
    target: int = 0
    k: int = 200
    temperature: float = 0.1
    samples: int = 2000
    shown: int = 6
    seed: int = 0

    product = "method"

    def __post_init__(self) -> None:
        if min(self.k, self.samples, self.shown) < 1 or not self.temperature > 0:
            raise ConfigError("k, samples and shown must be at least 1, and temperature above 0")

    @classmethod
    def example(cls) -> Self:
        return cls(FrequencyTrigger(window=8), shown=2)

    def example_trial(self) -> Trial:
        from withstand.methods.attackers.poisoned_training import PoisonedTraining

        data = Poisoned(small_pictures(), FrequencyTrigger(window=8), rate=0.1, target=None)
        return Trial(PoisonedTraining.example(), data)

    def lacks(self, subject: Any, source: Source) -> str:
        """Return that there is no clean twin to compare with, or that the data have no labels."""
        if not isinstance(subject, Twinned):
            return f"{type(subject).__name__} has no twin that learnt from clean data"
        return "" if source.labels is not None else "success is judged by classes, and the data have no labels"

    def evaluate(self, subject: Any, source: Source, *, test: Source | None = None, control: Any = None) -> Finding:
        """Return the finding "trigger success".

        Args:
            subject: a method that is `Twinned`.
            source: labelled samples; of a `Poisoned` source those without the trigger are the memory.
            test: labelled samples that the trigger is added to; the memory's own without them, which flatters.
            control: not read: the clean encoder is what success is compared with.

        Raises:
            ConfigError: no twin.
            DataError: no labels, or no test samples of another class than the target.
        """
        memory = _without_trigger(source)
        judged = memory if test is None else test
        for some in (memory, judged):
            if lacking := self.lacks(subject, some):
                raise (DataError if some.labels is None else ConfigError)(lacking)
        rows = ranked(len(judged), self.seed, "triggered")[: self.samples].sort().values
        assert judged.labels is not None
        labels = judged.labels[rows]
        others = labels != self.target
        if not bool(others.any()):
            raise DataError(f"all test samples are of class {self.target}: success is judged on the other classes")
        clean = torch.cat([unit_range(judged[some].x) for some in torch.split(rows, _AT_ONCE)])
        given = self._given(clean, rows)
        told = {"poisoned": subject.encoder, "clean": subject.twin.encoder}
        answers = {name: self._answers(encoder, memory, given) for name, encoder in told.items()}
        hits = {name: found["trigger"][others] == self.target for name, found in answers.items()}
        right = {name: found["none"] == labels for name, found in answers.items()}
        gain, low, high = paired_difference(hits["poisoned"], hits["clean"])
        figures = {
            SUCCESS: Share.of(hits["poisoned"]).measure("lower"),
            OF_CLEAN: Share.of(hits["clean"]).measure("lower"),
            OVER: Measure(gain, "share", "lower", interval=(low, high), of=int(others.sum())),
            ACCURACY: Share.of(right["poisoned"]).measure(),
            CLEAN_ACCURACY: Share.of(right["clean"]).measure(),
        }
        table = tuple(self._row(name, found, labels) for name, found in answers.items())
        return Finding(
            name="trigger-success",
            figures=figures,
            headline=SUCCESS,
            tables={"encoders": Table(_COLUMNS, table, units=shares(*(c for c in _COLUMNS[1:] if c not in _ENDS)))},
            checks=(
                Check(
                    "the clean encoder does not take the trigger",
                    Share.of(hits["clean"]).value < 0.5,
                    f"it sends {Share.of(hits['clean'])} of other classes' pictures to the target: where that is "
                    "much, the trigger works as any large change would, and not by what was learnt",
                ),
            ),
            protocol={
                "evaluator": describe(self),
                "memory": f"{len(memory):,} training samples without the trigger",
                "samples": len(rows),
                "of other classes than the target": int(others.sum()),
                "target": judged.classes[self.target] if self.target < len(judged.classes) else self.target,
                "noise": "what the trigger changes, its pixels in random places, the same for all",
            },
            pictures=self._pictures(given) if drawn(judged) else {},
        )

    def _given(self, clean: Tensor, rows: Tensor) -> dict[str, Tensor]:
        """Return the samples as they are asked about, by what was done to them."""
        draws = Draws(derive(self.seed, "trigger"), rows)
        triggered = self.trigger(Batch(clean, rows), draws).x
        order = Draws(derive(self.seed, "places"), torch.zeros(1, dtype=torch.int64)).permutations(clean[0, 0].numel())[
            0
        ]
        noise = (triggered - clean).flatten(2)[..., order].view_as(clean)
        found = {"none": clean, "trigger": triggered, "noise": (clean + noise).clamp(0, 1)}
        if clean.shape[1] == 3:
            found["trigger, in grey"] = Greyscale(1.0)(Batch(triggered, rows), draws).x
        return found

    def _answers(self, encoder: Model, memory: Source, given: dict[str, Tensor]) -> dict[str, Tensor]:
        fitted = KNN(self.k, self.temperature).fit(embed(encoder, memory))
        device = device_of_network(encoder)
        found = {}
        with Victim(encoder).held(), torch.no_grad():
            for name, x in given.items():
                features = torch.cat([encoder(some.to(device)).cpu().float() for some in torch.split(x, _AT_ONCE)])
                found[name] = fitted.predict(Features(features, None, torch.arange(len(x))).x)
        return found

    def _row(self, name: str, found: dict[str, Tensor], labels: Tensor) -> tuple[Cell, ...]:
        others = labels != self.target
        sent = {how: Share.of(told[others] == self.target) for how, told in found.items()}
        grey = sent.get("trigger, in grey")
        return (
            name,
            Share.of(found["none"] == labels).value,
            sent["none"].value,
            sent["noise"].value,
            *sent["trigger"].cells,
            Share.of(found["trigger"] == self.target).value,
            None if grey is None else grey.value,
            Share.of(found["trigger, in grey"] == labels).value if grey is not None else None,
        )

    def _pictures(self, given: dict[str, Tensor]) -> dict[str, Any]:
        clean, triggered = given["none"][: self.shown], given["trigger"][: self.shown]
        change = triggered - clean
        size = float(change.abs().max().clamp_min(1e-12))
        return {
            "picture": as_bytes(clean),
            "with the trigger": as_bytes(triggered),
            "what is added, at full contrast": as_bytes(change / size / 2 + 0.5),
        }


def _without_trigger(source: Source) -> Source:
    """Return the same samples as they were before some were poisoned."""
    whole, rows = in_whole(source)
    if not isinstance(whole, Poisoned):
        return source
    return whole.source if whole is source else Subset(whole.source, rows)


_ENDS = (SUCCESS + LOW, SUCCESS + HIGH)
_COLUMNS = (
    "encoder learnt from", ACCURACY, "to the target without a trigger", "with noise", SUCCESS, *_ENDS,
    "of all classes' pictures, as in the paper", "trigger success without color",
    "accuracy with trigger, without color",
)  # fmt: skip
