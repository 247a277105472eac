"""What learnt prompts are worth: on classes that they were learnt on and on new ones, and on pictures from elsewhere.

Classes are told apart among those of their kind, as the papers on prompts do: base ones among base ones, new ones among
new ones. The harmonic mean of both accuracies falls when either does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn

from withstand.core.batch import Batch, unit_range
from withstand.core.devices.device import device_of_network
from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.findings.finding import HIGH, LOW, Cell, Finding, Measure, Table
from withstand.core.part import Tree, describe
from withstand.core.random import Draws, derive
from withstand.core.roles import Evaluator, Source, Trial
from withstand.core.victims.victim import Victim
from withstand.data.captions.source import CaptionedClasses
from withstand.evaluation.statistics.intervals import Share
from withstand.views.pictures.common_corruptions.corruptions import CORRUPTIONS, Corruption
from withstand.views.pictures.picture import own_copy

LEARNT, PLAIN = "learnt prompts", "zero-shot"
BASE, NEW, HARMONIC = "base accuracy", "new accuracy", "harmonic mean"
_AT_ONCE = 256


@runtime_checkable
class Prompted(Protocol):
    """A method that learnt prompts.

    Attributes:
        classes: all names.
        base: how many of them, the first ones, were learnt from.
        context_words: what the context was at first.
    """

    classes: tuple[str, ...]
    base: int
    context_words: str

    def classifier(self, classes: Sequence[str] = ()) -> nn.Module:
        """Return the classifier of all classes."""
        ...

    def plain(self, classes: Sequence[str] = ()) -> nn.Module:
        """Return the classifier as it was before prompts were learnt."""
        ...

    def nearest_words(self, x: Tensor, count: int = 3) -> list[list[tuple[str, float]]]:
        """Return the known words nearest to each of the context, with their distances."""
        ...


def harmonic(one: float, other: float) -> float:
    """Return the harmonic mean of two shares; 0 where both are 0.

    >>> round(harmonic(0.8, 0.4), 4)
    0.5333
    """
    return 2 * one * other / (one + other) if one + other else 0.0


@dataclass(frozen=True)
class Transfer:
    """What a classifier is right on.

    Attributes:
        base: which pictures of base classes, told apart among these, bool `(N,)`.
        new: which of new ones, told apart among these, likewise; empty where there are none.
    """

    base: Tensor
    new: Tensor

    @property
    def figures(self) -> dict[str, float]:
        """The accuracies, with their harmonic mean where there are new classes."""
        base = float(self.base.double().mean())
        if not len(self.new):
            return {BASE: base}
        new = float(self.new.double().mean())
        return {BASE: base, NEW: new, HARMONIC: harmonic(base, new)}


def transfer(network: nn.Module, base: int, source: Source, corruption: Corruption | None = None) -> Transfer:
    """Return what a classifier is right on.

    Args:
        network: pictures in [0, 1] in, logits of all classes out; run in eval mode.
        base: how many classes, the first ones, are base ones.
        source: labelled pictures; those without a label are left out.
        corruption: of the pictures, drawn by their places.

    Raises:
        DataError: no labels, or no picture of a base class.
    """
    labels = source.labels
    if labels is None:
        raise DataError(f"{source.name} has no labels")
    right: list[tuple[Tensor, Tensor]] = []
    known = (labels >= 0).nonzero()[:, 0]
    device = device_of_network(network)
    with Victim(network).held(), torch.no_grad():
        for start in range(0, len(known), _AT_ONCE):
            rows = known[start : start + _AT_ONCE]
            batch = source[rows].to(device)
            logits, y = network(_shown(batch, corruption)), labels[rows].to(device)
            first = y < base
            told = logits[first, :base].argmax(1), logits[~first, base:]
            hits = told[0] == y[first]
            right.append((hits, told[1].argmax(1) == y[~first] - base if len(told[1]) else hits[:0]))
    if not right or not sum(len(one) for one, _ in right):
        raise DataError(f"{source.name} has no picture of the {base} classes that prompts were learnt on")
    one, other = (torch.cat(some).cpu() for some in zip(*right, strict=True))
    return Transfer(one, other)


def _shown(batch: Batch, corruption: Corruption | None) -> Tensor:
    if corruption is None:
        return unit_range(batch.x)
    draws = Draws(derive(0, "corruptions", corruption.kind, corruption.severity), batch.index)
    return corruption.change(own_copy(batch.x), draws)


@dataclass(frozen=True)
class PromptTransfer(Evaluator):
    """Accuracy of learnt prompts on base and new classes, beside the same network's without any, also under shifts.

    Args:
        elsewhere: further labelled pictures of the same classes from elsewhere, by name.
        corruptions: of the test pictures, by name.
        severity: of these, 1 to 5.
        words: how many words that are nearest to the context's are told.
    """

    elsewhere: Mapping[str, Source] | None = None
    corruptions: tuple[str, ...] = ("gaussian_noise", "defocus_blur", "jpeg_compression")
    severity: int = 3
    words: int = 3

    product = "method"

    def __post_init__(self) -> None:
        for name in self.corruptions:
            if name not in CORRUPTIONS:
                raise ConfigError(f"corruption {name!r} is unknown: {nearest(name, CORRUPTIONS)}")
        if not 1 <= self.severity <= 5 or self.words < 1:
            raise ConfigError(
                f"severity lies in [1, 5], and words is at least 1, not {self.severity!r}, {self.words!r}"
            )

    @classmethod
    def example(cls) -> Self:
        return cls(corruptions=("fog",))

    def example_trial(self) -> Trial:
        from withstand.methods.multimodal.gopro import GOPro

        return Trial(GOPro.example(), CaptionedClasses.example())

    def lacks(self, subject: Any, source: Source) -> str:
        """Return that no prompts were learnt, or that the data have no labels."""
        if not isinstance(subject, Prompted):
            return f"{type(subject).__name__} learnt no prompts"
        return "" if source.labels is not None else f"{source.name} has no labels"

    def evaluate(
        self, subject: Prompted, source: Source, *, test: Source | None = None, control: Prompted | None = None
    ) -> Finding:
        """Return the finding "prompts".

        Args:
            subject: a method that learnt prompts.
            source: labelled pictures, where there is no test.
            test: labelled pictures of base and new classes.
            control: not used: without what was learnt the same network stands beside.

        Raises:
            ConfigError: a method without prompts.
            DataError: no labels.
        """
        judged = source if test is None else test
        if lacking := self.lacks(subject, judged):
            raise (ConfigError if not isinstance(subject, Prompted) else DataError)(lacking)
        networks = {LEARNT: subject.classifier(), PLAIN: subject.plain()}
        clean = {name: transfer(network, subject.base, judged) for name, network in networks.items()}
        headline = HARMONIC if HARMONIC in clean[LEARNT].figures else BASE
        of: dict[str, int] = {BASE: len(clean[LEARNT].base), NEW: len(clean[LEARNT].new)}
        figures: dict[str, Measure] = {}
        for prefix, found in (("", clean[LEARNT]), (f"{PLAIN}, ", clean[PLAIN])):
            figures |= {f"{prefix}{BASE}": Share.of(found.base).measure()}
            if HARMONIC in found.figures:
                figures |= {f"{prefix}{NEW}": Share.of(found.new).measure()}
                figures |= {
                    f"{prefix}{HARMONIC}": Measure(found.figures[HARMONIC], "share", "higher", of=sum(of.values()))
                }
        return Finding(
            name="prompts",
            figures=figures,
            headline=headline,
            tables={
                "base to new": _table(clean),
                "shifted pictures": self._shifted(networks, subject.base, judged, clean),
                "nearest words": self._words(subject, judged),
            },
            protocol={
                "judge": describe(self),
                "base classes": list(subject.classes[: subject.base]),
                "new classes": list(subject.classes[subject.base :]),
                "told apart": "base classes among base ones, new ones among new ones",
                "pictures": dict[str, Tree](of),
                "interval": "95 %, Wilson",
            },
        )

    def _shifted(
        self, networks: Mapping[str, nn.Module], base: int, judged: Source, clean: Mapping[str, Transfer]
    ) -> Table:
        """Return accuracies by where pictures are from, and the harmonic mean where there are new classes."""
        rows: list[tuple[Cell, ...]] = []
        wanted = list(clean[LEARNT].figures)
        cases: dict[str, tuple[Source, Corruption | None]] = {
            f"{name}, severity {self.severity}": (judged, Corruption(name, self.severity)) for name in self.corruptions
        }
        cases |= {name: (some, None) for name, some in (self.elsewhere or {}).items()}
        found = {"test pictures": dict(clean)}
        for name, (some, corruption) in cases.items():
            found[name] = {kind: transfer(one, base, some, corruption) for kind, one in networks.items()}
        for name, both in found.items():
            cells = [both[kind].figures.get(figure) for figure in wanted for kind in networks]
            rows.append((name, *cells))
        columns = [f"{figure}, {kind}" for figure in wanted for kind in networks]
        return Table(("pictures", *columns), tuple(rows), units=dict.fromkeys(columns, "share"))

    def _words(self, subject: Prompted, judged: Source) -> Table:
        """Return the words nearest to each of the learnt context, which need not mean anything."""
        module: Any = subject
        x = judged[range(min(len(judged), _AT_ONCE))].x.to(device_of_network(module))
        with Victim(module).held():
            near = subject.nearest_words(unit_range(x), self.words)
        rows = [
            (place, first, word, far)
            for place, (first, found) in enumerate(zip(subject.context_words.split(), near, strict=False), start=1)
            for word, far in found
        ]
        columns = ("place", "started from", "nearest word", "distance")
        return Table(columns, tuple(rows), units={"distance": "distance"})


def _table(found: Mapping[str, Transfer]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for name, one in found.items():
        new: tuple[Cell, ...] = Share.of(one.new).cells if len(one.new) else (None, None, None)
        rows.append((name, *Share.of(one.base).cells, *new, one.figures.get(HARMONIC)))
    columns = [f"{name}{end}" for name in (BASE, NEW) for end in ("", LOW, HIGH)]
    return Table(("classifier", *columns, HARMONIC), tuple(rows), units=dict.fromkeys([*columns, HARMONIC], "share"))
