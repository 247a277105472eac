"""A condensed set beside its start: how well new networks that are trained on either tell what the teacher tells."""

from dataclasses import dataclass
from typing import Any, Protocol, Self, runtime_checkable

import torch
from torch import Tensor

from withstand.core.batch import unit_range
from withstand.core.errors import ConfigError, DataError, require_at_least
from withstand.core.findings.finding import Cell, Check, Finding, Measure, Table
from withstand.core.findings.pictures import as_bytes
from withstand.core.part import describe
from withstand.core.random import Draws, derive, isolated
from withstand.core.roles import Evaluator, Model, Source, Trial
from withstand.core.victims.victim import Victim
from withstand.evaluation.small import small_pictures
from withstand.models.blocks.memory.pool import Pool

_AT_ONCE = 256
OURS, THEIRS = "error after the condensed set", "error after as many real pictures"
RATIO, BEYOND = "error over that after as many real pictures", "pixels lost where pictures are cut to [0, 1]"


@runtime_checkable
class Condensing(Protocol):
    """A method that learns a small set, from a start of real pictures.

    Attributes:
        encoder: the teacher.
        pictures: the set's pictures, normalised, `(M, C, H, W)`.
        targets: their targets, `(M, D)`.
        start: the real pictures that it began with, normalised.
    """

    encoder: Model
    pictures: Tensor
    targets: Tensor
    start: Tensor

    def network(self) -> Model:
        """Return a network of the kind that is to be trained on the set."""
        ...

    def normalised(self, x: Tensor) -> Tensor:
        """Return what the network is given of pictures in bytes or in [0, 1]."""
        ...

    def pixels(self, x: Tensor) -> Tensor:
        """Return normalised pictures in units in which pictures lie in [0, 1]."""
        ...


@dataclass(frozen=True)
class Condensed(Evaluator):
    """Mean squared errors to the teacher of networks trained on a condensed set, and on the real pictures of its start.

    Both see the teacher's features of unseen pictures for the first time. Each pair of networks starts with the same
    weights and takes equally many steps of SGD on all of its set (rate 0.1, momentum 0.9, weight decay 1e-3).

    Args:
        steps: of each network.
        networks: pairs of them.
        samples: most pictures that errors are averaged over, drawn by (seed, index).
        shown: pictures of the set that are shown.
        seed: of networks and pictures.
    """

    steps: int = 200
    networks: int = 3
    samples: int = 1000
    shown: int = 16
    seed: int = 0

    product = "method"

    def __post_init__(self) -> None:
        require_at_least(1, steps=self.steps, networks=self.networks, shown=self.shown)
        if self.samples < 2:
            raise ConfigError(f"samples must be at least 2, not {self.samples!r}: the features' spread is told beside")

    @classmethod
    def example(cls) -> Self:
        return cls(steps=2, networks=2, shown=2)

    def example_trial(self) -> Trial:
        from withstand.methods.condensation.krr_st import KRRST

        return Trial(KRRST.example(), small_pictures())

    def lacks(self, subject: Any, source: Source) -> str:
        """Return that the method condenses nothing."""
        return "" if isinstance(subject, Condensing) else f"{type(subject).__name__} learns no condensed set"

    def evaluate(self, subject: Any, source: Source, *, test: Source | None = None, control: Any = None) -> Finding:
        """Return the finding "condensed".

        Args:
            subject: a method that is `Condensing`.
            source: pictures, where there is no test.
            test: pictures that errors are measured on.
            control: not used: the start is what the set is compared with.

        Raises:
            ConfigError: the subject condenses nothing.
            DataError: fewer than two pictures.
        """
        judged = source if test is None else test
        if lacking := self.lacks(subject, judged):
            raise ConfigError(lacking)
        if len(judged) < 2:
            raise DataError("errors to a teacher are told of two pictures at least")
        rows = Draws(derive(self.seed, "condensed"), torch.arange(len(judged))).bits(1)[:, 0].argsort(stable=True)
        rows = rows[: self.samples]
        device = subject.pictures.device
        with Victim(subject).held(), torch.no_grad():
            wanted = torch.cat([
                subject.encoder(unit_range(judged[some].x).to(device)) for some in torch.split(rows, _AT_ONCE)
            ]).double()  # fmt: skip
            begun = subject.encoder(subject.pixels(subject.start))
            sets = {OURS: (subject.pictures, subject.targets), THEIRS: (subject.start, begun)}
            errors: dict[str, list[float]] = {name: [] for name in sets}
            for number in range(self.networks):
                for name, (pictures, targets) in sets.items():
                    pool = self._trained(subject, pictures, targets, number)
                    told = torch.cat([
                        pool.told(0, subject.normalised(judged[some].x.to(device)))
                        for some in torch.split(rows, _AT_ONCE)
                    ])  # fmt: skip
                    errors[name].append(float((told.double() - wanted).square().mean()))
            pixels = {
                "condensed set": subject.pixels(subject.pictures[: self.shown]),
                "its start": subject.pixels(subject.start[: self.shown]),
            }
            outside = subject.pixels(subject.pictures)
        spread = float(wanted.var(0, correction=0).mean())
        mean = {name: sum(found) / len(found) for name, found in errors.items()}
        deviation = {
            name: float(torch.tensor(found, dtype=torch.float64).std()) if len(found) > 1 else None
            for name, found in errors.items()
        }
        figures = {
            RATIO: Measure(mean[OURS] / mean[THEIRS], "ratio", "lower", of=len(rows)),
            **{
                name: Measure(mean[name], "squared distance", "lower", spread=deviation[name], of=self.networks)
                for name in errors
            },
            "error of the mean": Measure(spread, "squared distance", None, of=len(rows)),
            BEYOND: Measure(float(((outside < 0) | (outside > 1)).double().mean()), "share", "lower"),
        }
        seeds: list[tuple[Cell, ...]] = [(one, *(errors[name][one] for name in errors)) for one in range(self.networks)]
        return Finding(
            name="condensed",
            figures=figures,
            headline=RATIO,
            tables={
                "networks": Table(("network", *errors), tuple(seeds), units=dict.fromkeys(errors, "squared distance"))
            },
            checks=(
                Check(
                    "what is told is nearer than one answer for all",
                    mean[OURS] < spread,
                    f"the error after the condensed set is {mean[OURS] / spread:.2f} of that of the features' mean"
                    if spread
                    else "the teacher gives every picture the same features",
                ),
            ),
            protocol={
                "evaluator": describe(self),
                "samples": len(rows),
                "samples given": len(judged),
                "condensed pictures": len(subject.pictures),
                "error": "mean of squares over pictures and features of the teacher; that of the mean is the features' "
                "variance over the same pictures",
                "network": describe(subject.network()),
            },
            pictures={name: as_bytes(one) for name, one in pixels.items()} if judged.shape[0] in (1, 3) else {},
        )

    def _trained(self, subject: Condensing, pictures: Tensor, targets: Tensor, number: int) -> Pool:
        """Return a network, as a pool of one, trained on a set."""
        with isolated(self.seed, "network", number):
            pool = Pool(subject.network(), targets.shape[1], 1)
        pool.to(pictures)
        for _ in range(self.steps):
            pool.learn(0, pictures, targets)
        return pool
