"""How near a targeted attack on embeddings leads pictures to others: is the wanted one the nearest of a gallery?"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from withstand.attacks.attack import InputAttack
from withstand.attacks.inputs.gradient import PGD
from withstand.attacks.objectives import EmbeddingDistance
from withstand.core.devices.device import device_of_network
from withstand.core.errors import ConfigError, DataError
from withstand.core.findings.finding import Cell, Finding, Measure, Table
from withstand.core.findings.pictures import as_bytes, drawn
from withstand.core.part import describe
from withstand.core.random import Draws, derive
from withstand.core.roles import Evaluator, Method, Model, Source, Trial, encoder_of
from withstand.core.threat import Ball
from withstand.core.victims.victim import Victim
from withstand.evaluation.small import small_pictures
from withstand.evaluation.statistics.intervals import Share, columns, shares

RETRIEVED = "target retrieved"
LEARNT, SEARCHED, NOISE, CLEAN = "the attack", "PGD on each picture", "random signs", "clean"
_AT_ONCE = 128


@dataclass(frozen=True)
class TargetRetrieval(Evaluator):
    """The share of attacked pictures whose wanted picture is the most similar one of a gallery.

    Beside the learnt attack stand the clean pictures, random signs of its radius, and PGD on each picture, which is
    what the learnt one saves. Attacked pictures are rounded to bytes, as a file would hold them.

    Args:
        samples: pictures that are attacked, drawn by (seed, index); each has another one as its target.
        gallery: pictures to choose from, the target among them.
        steps: of PGD.
        eps: shares of the attack's radius at which it is run too.
        shown: pictures that are shown.
        seed: of samples, targets, galleries and noise.
    """

    samples: int = 200
    gallery: int = 100
    steps: int = 30
    eps: tuple[float, ...] = (0.25, 0.5, 1.0)
    shown: int = 8
    seed: int = 0

    product = "method"

    def __post_init__(self) -> None:
        if min(self.samples, self.gallery) < 2 or min(self.steps, self.shown) < 1:
            raise ConfigError("samples and gallery must be at least 2, steps and shown at least 1")
        if not self.eps or not all(0 < share <= 1 for share in self.eps):
            raise ConfigError(f"eps, shares of the attack's radius, must lie in (0, 1], not {self.eps!r}")

    @classmethod
    def example(cls) -> Self:
        return cls(12, 6, 2, (1.0,), 2)

    def example_trial(self) -> Trial:
        from withstand.methods.attackers.any_attack import AnyAttack

        return Trial(AnyAttack.example(), small_pictures())

    def lacks(self, subject: Any, source: Source) -> str:
        """Return that the subject has learnt no targeted attack, or that there are too few samples."""
        attack = subject.products().get("attack") if isinstance(subject, Method) else None
        if not isinstance(attack, InputAttack) or not attack.ball.targeted or "encoder" not in subject.products():
            return f"{type(subject).__name__} has learnt no targeted attack on an encoder"
        return "" if len(source) > 2 else f"a target needs other samples to stand among, and there are {len(source)}"

    def evaluate(self, subject: Any, source: Source, *, test: Source | None = None, control: Any = None) -> Finding:
        """Return the finding "target-retrieval".

        Args:
            subject: a method that gives an encoder and a targeted attack on its embeddings.
            source: samples that are attacked, where there is no test.
            test: samples that are attacked.
            control: not read: clean pictures and random noise are what the attack is compared with.

        Raises:
            ConfigError: the subject has learnt no targeted attack.
            DataError: too few samples.
        """
        judged = source if test is None else test
        if lacking := self.lacks(subject, judged):
            raise (DataError if len(judged) <= 2 else ConfigError)(lacking)
        encoder, attack = encoder_of(subject), subject.product("attack")
        victim = Victim(encoder, low=judged.low, high=judged.high, changeable=judged.changeable, levels=judged.levels)
        rows = Draws(derive(self.seed, "targets"), torch.arange(len(judged))).bits(1)[:, 0].argsort(stable=True)
        rows = rows[: self.samples]
        targets = rows.roll(1)
        x = victim.ready(judged[rows].x.to(device_of_network(encoder)))
        with victim.held(), torch.no_grad():
            own = torch.cat([encoder(part) for part in torch.split(x, _AT_ONCE)])
        wanted = own.roll(1, 0)
        galleries = self._galleries(len(rows)).to(x.device)
        found = {CLEAN: x}
        for name, make in self._attackers(attack).items():
            found[name] = _rounded(make(victim, x, wanted), victim)
        labels = None if judged.labels is None else judged.labels
        tables, embedded = [], {}
        for name, moved in found.items():
            embedded[name] = self._embedded(encoder, victim, moved)
            tables.append(_row(name, embedded[name], wanted, own, galleries, rows, targets, labels))
        curve = self._curve(attack, encoder, victim, x, wanted, own, galleries)
        heads = (*_COLUMNS, AS_TARGET) if labels is not None else _COLUMNS
        shared = shares(*columns(RETRIEVED), *([AS_TARGET] if labels is not None else []))
        return Finding(
            name="target-retrieval",
            figures={
                f"{RETRIEVED}, {name}": Share.of(_retrieved(embedded[name], own, galleries)).measure("lower")
                for name in found
            }
            | {
                f"cosine to the target, {name}": Measure(_cosine(one, wanted), "cosine", "lower")
                for name, one in embedded.items()
            },
            headline=f"{RETRIEVED}, {LEARNT}",
            tables={
                "attackers": Table(heads, tuple(tables), units={**shared, COSINE: "cosine"}),
                "radii": Table(
                    ("radius", RETRIEVED, COSINE),
                    curve,
                    x="radius",
                    note="the share of the gallery's pictures that chance would find is one in its size",
                    units={RETRIEVED: "share", COSINE: "cosine", "radius": "radius"},
                ),
            },
            protocol={
                "evaluator": describe(self),
                "attack": type(attack).__name__,
                "ball": str(attack.ball),
                "samples": len(rows),
                "gallery": galleries.shape[1],
                "rounded": "to bytes",
            },
            pictures={
                "picture": as_bytes((x[: self.shown] - victim.low) / victim.span),
                "target": as_bytes((x.roll(1, 0)[: self.shown] - victim.low) / victim.span),
                "under attack": as_bytes((found[LEARNT][: self.shown] - victim.low) / victim.span),
            }
            if drawn(judged)
            else {},
        )

    def _galleries(self, count: int) -> Tensor:
        """Return for each sample places of pictures to choose from: first its target's, never its own, `(N, G)`."""
        draws = Draws(derive(self.seed, "gallery"), torch.arange(count))
        order = draws.permutations(count)
        place = torch.arange(count)
        target = (place - 1) % count
        others = order[(order != place[:, None]) & (order != target[:, None])].view(count, count - 2)
        return torch.cat([target[:, None], others[:, : self.gallery - 1]], 1)

    def _attackers(self, attack: InputAttack) -> dict[str, Callable[[Victim, Tensor, Tensor], Tensor]]:
        ball = attack.ball
        pgd = PGD(ball if ball.norm != "l1" else Ball("linf", ball.eps, targeted=True), EmbeddingDistance())
        pgd = replace(pgd, steps=self.steps)

        def noise(victim: Victim, x: Tensor, wanted: Tensor) -> Tensor:
            signs = Draws(derive(self.seed, "signs"), torch.arange(len(x), device=x.device)).uniform(*x.shape[1:])
            return (x + ball.eps * (signs - 0.5).sign()).clamp(victim.low, victim.high)

        return {
            NOISE: noise,
            LEARNT: lambda victim, x, wanted: attack(victim, x, wanted, generator=self.seed).x,
            SEARCHED: lambda victim, x, wanted: pgd(victim, x, wanted, generator=self.seed).x,
        }

    def _curve(
        self,
        attack: InputAttack,
        encoder: Model,
        victim: Victim,
        x: Tensor,
        wanted: Tensor,
        own: Tensor,
        galleries: Tensor,
    ) -> tuple[tuple[Cell, ...], ...]:
        rows: list[tuple[Cell, ...]] = []
        for share in sorted({0.0, *self.eps}):
            weaker = attack.at(attack.ball.eps * share)
            moved = _rounded(weaker(victim, x, wanted, generator=self.seed).x, victim)
            embedded = self._embedded(encoder, victim, moved)
            hit = _retrieved(embedded, own, galleries)
            rows.append((weaker.ball.eps, Share.of(hit).value, _cosine(embedded, wanted)))
        return tuple(rows)

    def _embedded(self, encoder: Model, victim: Victim, x: Tensor) -> Tensor:
        with victim.held(), torch.no_grad():
            return torch.cat([encoder(part) for part in torch.split(x, _AT_ONCE)])


COSINE, AS_TARGET = "cosine to the target", "nearest neighbour has the target's label"
_COLUMNS = ("input", *columns(RETRIEVED), COSINE)


def _row(
    name: str,
    embedded: Tensor,
    wanted: Tensor,
    own: Tensor,
    galleries: Tensor,
    rows: Tensor,
    targets: Tensor,
    labels: Tensor | None,
) -> tuple[Cell, ...]:
    cells: tuple[Cell, ...] = (
        name, *Share.of(_retrieved(embedded, own, galleries)).cells, _cosine(embedded, wanted),
    )  # fmt: skip
    if labels is None:
        return cells
    nearest = _similar(embedded, own).fill_diagonal_(-2).argmax(1).cpu()
    return (*cells, Share.of(labels[rows[nearest]] == labels[targets]).value)


def _retrieved(embedded: Tensor, own: Tensor, galleries: Tensor) -> Tensor:
    """Return whether each sample's target, the first of its gallery, is strictly the most similar one, `(N,)`."""
    similar = _similar(embedded, own).gather(1, galleries)
    return (similar[:, 0] > similar[:, 1:].max(1).values).cpu()


def _similar(one: Tensor, other: Tensor) -> Tensor:
    return F.normalize(one.double(), dim=1) @ F.normalize(other.double(), dim=1).T


def _cosine(one: Tensor, other: Tensor) -> float:
    return float(F.cosine_similarity(one.double(), other.double(), dim=1).mean())


def _rounded(x: Tensor, victim: Victim) -> Tensor:
    """Return inputs as bytes would hold them."""
    if not torch.isfinite(torch.tensor(victim.span)):
        return x
    return ((x - victim.low) / victim.span * 255).round() / 255 * victim.span + victim.low
