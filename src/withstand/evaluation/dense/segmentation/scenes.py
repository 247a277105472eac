"""Scenes cut into objects by slots: how well, before and after adaptation to each scene alone."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn

from withstand.core.batch import MASK, unit_range
from withstand.core.devices.device import device_of_network
from withstand.core.errors import ConfigError, DataError, require_at_least
from withstand.core.findings.finding import Better, Cell, Finding, Measure, Table
from withstand.core.findings.pictures import drawn, pictures_of
from withstand.core.part import describe
from withstand.core.random import ranked
from withstand.core.roles import Defense, Evaluator, Source, Trial
from withstand.core.victims.victim import Victim
from withstand.data.derived.paired import PairedSource
from withstand.evaluation.dense.segmentation.masks import overlaid
from withstand.evaluation.dense.segmentation.partitions import adjusted_rand, matched_iou
from withstand.evaluation.small import rounding, small_pictures
from withstand.models.dense.slots import RESTORED

ARI, FOREGROUND, IOU, ERROR = "ARI", "foreground ARI", "mean IoU, matched", "error of restoring"
AFTER = f"{FOREGROUND} after adaptation"
_UNITS = {ARI: "ratio", FOREGROUND: "ratio", IOU: "ratio", ERROR: "squared distance"}


@runtime_checkable
class SlotMethod(Protocol):
    """A method whose network tells masks that compose a picture."""

    def scenes(self) -> nn.Module:
        """Return the network, which gives "logits" `(B, K, H, W)` and "restored" pictures."""
        ...


@dataclass(frozen=True)
class Scenes(Evaluator):
    """ARI, foreground ARI, IoU of matched masks, and the error of restoring, before and after adaptation.

    True masks are read after all predictions are made. How many steps help is to be chosen on other scenes than those
    that are reported.

    Args:
        adapted: makes the guard that adapts a network, of the network, steps and rate; a function of a module.
        steps: of adaptation.
        rate: their learning rate.
        samples: most scenes that are judged, drawn by (seed, index).
        shown: scenes that are shown.
        seed: of the choice.
    """

    adapted: Callable[[nn.Module, int, float], Defense]
    steps: int = 20
    rate: float = 2e-4
    samples: int = 20
    shown: int = 6
    seed: int = 0

    product = "method"

    def __post_init__(self) -> None:
        require_at_least(1, steps=self.steps, samples=self.samples, shown=self.shown)
        if not self.rate > 0:
            raise ConfigError(f"rate must be above 0, not {self.rate!r}")

    @classmethod
    def example(cls) -> Self:
        return cls(_untouched, steps=2, samples=3, shown=2)

    def example_trial(self) -> Trial:
        from withstand.methods.dense.slot_tta import SlotTTA

        masks = torch.arange(64).view(1, 8, 8).repeat(4, 1, 1) // 20
        return Trial(SlotTTA.example(), PairedSource(small_pictures(4), {MASK: masks}))

    def lacks(self, subject: Any, source: Source) -> str:
        """Return that the method tells no masks, or that the data have none."""
        if not isinstance(subject, SlotMethod):
            return f"{type(subject).__name__} tells no masks that compose a picture"
        return "" if MASK in source[[0]].extras else f"{source.name} has no masks"

    def evaluate(self, subject: Any, source: Source, *, test: Source | None = None, control: Any = None) -> Finding:
        """Return the finding "scenes".

        Args:
            subject: a method that is a `SlotMethod`.
            source: scenes with masks, where there is no test.
            test: scenes that are judged.
            control: not used: scenes before adaptation are what those after it are compared with.

        Raises:
            ConfigError: the subject tells no masks.
            DataError: no masks.
        """
        judged = source if test is None else test
        if lacking := self.lacks(subject, judged):
            raise (DataError if isinstance(subject, SlotMethod) else ConfigError)(lacking)
        rows = ranked(len(judged), self.seed, "scenes")[: self.samples]
        network = subject.scenes()
        batch = judged[rows]
        x = unit_range(batch.x).to(device_of_network(network))
        numbers = sorted({0, self.steps // 2, self.steps})
        told = {number: self._told(network, x, number) for number in numbers}
        true = batch.extras[MASK].cpu().long()
        scores = {
            number: {
                ARI: adjusted_rand(masks, true),
                FOREGROUND: adjusted_rand(masks, true, foreground=True),
                IOU: matched_iou(masks, true),
                ERROR: error,
            }
            for number, (masks, error) in told.items()
        }
        figures: dict[str, Measure] = {}
        for name, unit in _UNITS.items():
            better: Better = "lower" if name == ERROR else "higher"
            for number, when in ((self.steps, "after"), (0, "before")):
                one = scores[number][name]
                figures[f"{name} {when} adaptation"] = Measure(
                    float(one.nanmean()), unit, better, of=int((~one.isnan()).sum())
                )
        curve: list[tuple[Cell, ...]] = [
            (number, *(float(found[name].nanmean()) for name in _UNITS)) for number, found in scores.items()
        ]
        few = slice(0, self.shown)
        plain = pictures_of(judged, rows[few]) if drawn(judged) else None
        pictures = {} if plain is None else {
            "scene": plain.repeat(3, 3) if plain.shape[3] == 1 else plain,
            "true masks": overlaid(plain, true[few]),
            "before adaptation": overlaid(plain, told[0][0][few]),
            "after adaptation": overlaid(plain, told[self.steps][0][few]),
        }  # fmt: skip
        return Finding(
            name="scenes",
            figures=figures,
            headline=AFTER,
            tables={"steps of adaptation": Table(("steps", *_UNITS), tuple(curve), units=_UNITS)},
            protocol={
                "evaluator": describe(self),
                "samples": len(rows),
                "samples given": len(judged),
                "adaptation": "to each scene alone, of all weights, by the error of restoring; each time from the "
                "trained weights",
                "scenes without objects": "do not count in foreground ARI",
            },
            pictures=pictures,
        )

    def _told(self, network: nn.Module, x: Tensor, steps: int) -> tuple[Tensor, Tensor]:
        """Return masks, int64 `(N, H, W)`, and each scene's error of restoring, float64 `(N,)`."""
        victim = Victim(network)
        guard = self.adapted(network, steps, self.rate) if steps else None
        found: list[tuple[Tensor, Tensor]] = []
        with victim.held(), torch.no_grad():
            for some in torch.split(x, 1):
                told = victim(some) if guard is None else guard(some).outputs
                assert not isinstance(told, Tensor)
                error = (told[RESTORED] - some).square().flatten(1).mean(1)
                found.append((told["logits"].argmax(1).cpu(), error.double().cpu()))
        masks, errors = zip(*found, strict=True)
        return torch.cat(masks), torch.cat(errors)


def _untouched(network: nn.Module, steps: int, rate: float) -> Defense:
    """Return a guard that adapts nothing, for the example."""
    return rounding(Victim(network))
