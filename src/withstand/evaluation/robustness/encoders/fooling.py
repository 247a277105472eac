"""What an attack that was learnt on an encoder does to heads that were not: whoever builds on the encoder meets it."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from withstand.attacks.attack import InputAttack
from withstand.attacks.learnt.perturbations import Patch, Universal
from withstand.core.batch import unit_range
from withstand.core.devices.device import device_of_network
from withstand.core.errors import ConfigError, DataError
from withstand.core.findings.finding import Cell, Check, Finding, Measure, Table
from withstand.core.findings.pictures import as_bytes, drawn
from withstand.core.part import describe
from withstand.core.random import Draws, derive
from withstand.core.roles import Evaluator, Method, Model, Source, Trial, encoder_of
from withstand.core.victims.victim import Victim
from withstand.evaluation.features import Features
from withstand.evaluation.probes.mlp import MLP
from withstand.evaluation.probes.named import KNN, Linear
from withstand.evaluation.probes.probe import AccuracyProbe
from withstand.evaluation.small import small_pictures
from withstand.evaluation.statistics.intervals import Share, shares
from withstand.views.frequencies import power

_AT_ONCE = 128
_ALIKE = 0.99
FOOLED, BY_CHANCE = "fooling rate", "fooling rate of noise"


@dataclass(frozen=True)
class Fooling(Evaluator):
    """The share of samples whose predicted class an attack changes, by heads that are fitted to clean features.

    Beside it random noise of the same size: signs of the perturbation's radius, or a patch of random pixels. A change
    of the prediction counts whatever the truth, so the loss of accuracy stands beside it.

    Args:
        heads: what is fitted to the clean features of the training samples.
        samples: test samples that are attacked, drawn by (seed, index).
        train: training samples that heads are fitted to, at most, drawn likewise.
        shown: pictures that are shown.
        seed: of the choice of samples and of the noise.
    """

    heads: tuple[AccuracyProbe, ...] = (KNN(), Linear(C=1.0), MLP())
    samples: int = 1000
    train: int = 5000
    shown: int = 8
    seed: int = 0

    product = "method"

    def __post_init__(self) -> None:
        if not self.heads:
            raise ConfigError("heads are empty: give one or more, say (KNN(),)")
        if min(self.samples, self.train, self.shown) < 1:
            raise ConfigError("samples, train and shown must be at least 1")

    @classmethod
    def example(cls) -> Self:
        return cls((Linear(C=1.0),), shown=2)

    def example_trial(self) -> Trial:
        from withstand.methods.attackers.adv_encoder import AdvEncoder

        return Trial(AdvEncoder.example(), small_pictures())

    def lacks(self, subject: Any, source: Source) -> str:
        """Return that the subject has learnt no attack, or that heads have no labels."""
        if not isinstance(subject, Method) or not {"attack", "encoder"} <= set(subject.products()):
            return f"{type(subject).__name__} has learnt no attack on an encoder"
        return "" if source.labels is not None else "heads need labels, and the data have none"

    def evaluate(self, subject: Any, source: Source, *, test: Source | None = None, control: Any = None) -> Finding:
        """Return the finding "fooling".

        Args:
            subject: a method that gives an encoder and an attack on it.
            source: labelled samples that heads are fitted to.
            test: labelled samples that are attacked; the source's own without them, which flatters the heads.
            control: not read: random noise is what the attack is compared with.

        Raises:
            ConfigError: the subject has learnt no attack.
            DataError: no labels.
        """
        judged = source if test is None else test
        for some in (source, judged):
            if lacking := self.lacks(subject, some):
                raise (DataError if some.labels is None else ConfigError)(lacking)
        encoder, attack = encoder_of(subject), subject.product("attack")
        if not isinstance(attack, InputAttack):
            raise ConfigError(f"a {type(attack).__name__} is no attack on inputs")
        fitted_to, attacked = self._some(source, self.train), self._some(judged, self.samples)
        x, moved, noisy = self._inputs(encoder, attack, judged, attacked)
        train = _features(encoder, source, fitted_to)
        clean, under, beside = (_embedded(encoder, part, judged, attacked) for part in (x, moved, noisy))
        rows, figures = [], {}
        for head in self.heads:
            predict = head.fit(train).predict
            told, told_under, told_beside = (predict(part.x) for part in (clean, under, beside))
            fooled, chance = told != told_under, told != told_beside
            right, kept = told == clean.labels, told_under == clean.labels
            rows.append(_row(head.name, right, kept, told_beside == clean.labels, fooled, chance))
            figures[f"{FOOLED}, {head.name}"] = Share.of(fooled).measure("lower")
            figures[f"{BY_CHANCE}, {head.name}"] = Share.of(chance).measure("lower")
        alike = _pairwise(under.x)
        figures["cosine to clean features"] = Measure(_cosine(clean.x, under.x), "cosine", "higher")
        figures["cosine to clean features, noise"] = Measure(_cosine(clean.x, beside.x), "cosine", None)
        return Finding(
            name="fooling",
            figures=figures,
            headline=f"{FOOLED}, {self.heads[min(1, len(self.heads) - 1)].name}",
            tables={"heads": Table(_COLUMNS, tuple(rows), units=shares(*_COLUMNS[1:]))},
            checks=(
                Check(
                    "attacked features still differ",
                    alike < _ALIKE,
                    f"their mean cosine with one another is {alike:.3f}, that of clean ones {_pairwise(clean.x):.3f}: "
                    "near 1 every sample is seen as the same one, and one class takes all predictions",
                ),
            ),
            protocol={
                "evaluator": describe(self),
                "attack": type(attack).__name__,
                "ball": str(attack.ball),
                "heads fitted to": len(fitted_to),
                "samples": len(attacked),
                "noise": "a patch of random pixels"
                if isinstance(attack, Patch)
                else "signs of the radius, one a pixel",
            },
            pictures=self._pictures(attack, judged, x, moved) if drawn(judged) else {},
        )

    def _some(self, source: Source, most: int) -> Tensor:
        keys = Draws(derive(self.seed, "fooling"), torch.arange(len(source))).bits(1)[:, 0]
        return keys.argsort(stable=True)[:most].sort().values

    def _inputs(
        self, encoder: Model, attack: InputAttack, source: Source, rows: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return samples, the same under attack, and under noise of the same size, all on the CPU."""
        victim = Victim(encoder, low=source.low, high=source.high, changeable=source.changeable, levels=source.levels)
        device = device_of_network(encoder)
        found: list[tuple[Tensor, Tensor, Tensor]] = []
        for start in range(0, len(rows), _AT_ONCE):
            some = rows[start : start + _AT_ONCE]
            x = victim.ready(source[some].x.to(device))
            moved = attack(victim, x, generator=self.seed).x
            draws = Draws(derive(self.seed, "noise"), some.to(device))
            if isinstance(attack, Patch):
                low, span = victim.low, victim.span
                noisy = torch.where(attack.sticker.mask.to(device), low + span * draws.uniform(*x.shape[1:]), x)
            else:
                signs = draws.uniform(*x.shape[1:]).sub(0.5).sign()
                noisy = (x + attack.ball.eps * signs).clamp(victim.low, victim.high)
            found.append((x.cpu(), moved.cpu(), noisy.to(x).cpu()))
        x, moved, noisy = (torch.cat(parts) for parts in zip(*found, strict=True))
        return x, moved, noisy

    def _pictures(
        self, attack: InputAttack, source: Source, x: Tensor, moved: Tensor
    ) -> dict[str, npt.NDArray[np.uint8]]:
        """Return pictures before and after, and of one attack for all what is added, and its spectrum, in greys."""
        low, span = source.low, source.high - source.low
        strips = {
            "picture": as_bytes((x[: self.shown] - low) / span),
            "under attack": as_bytes((moved[: self.shown] - low) / span),
        }
        if isinstance(attack, Universal):
            values = attack.perturbation.values.detach().float().cpu()
            size = float(values.abs().max().clamp_min(1e-12))
            spectrum = power(values).mean(0, keepdim=True).add(1e-12).log()
            level = (spectrum - spectrum.min()) / (spectrum.max() - spectrum.min()).clamp_min(1e-12)
            shown = len(strips["picture"])
            strips["what is added, at full contrast"] = as_bytes((values / size / 2 + 0.5).expand(shown, -1, -1, -1))
            strips["its spectrum, frequency 0 in the middle"] = as_bytes(
                level.expand(values.shape[0], -1, -1).expand(shown, -1, -1, -1)
            )
        return strips


_COLUMNS = (
    "head", "accuracy", "under attack", "under noise", FOOLED, f"{FOOLED}, 95 % low", f"{FOOLED}, 95 % high", BY_CHANCE,
)  # fmt: skip


def _row(head: str, right: Tensor, kept: Tensor, noisy: Tensor, fooled: Tensor, chance: Tensor) -> tuple[Cell, ...]:
    accuracies = (Share.of(one).value for one in (right, kept, noisy))
    return (head, *accuracies, *Share.of(fooled).cells, Share.of(chance).value)


def _features(encoder: Model, source: Source, rows: Tensor) -> Features:
    return _embedded(encoder, torch.cat([source[some].x for some in torch.split(rows, _AT_ONCE)]), source, rows)


def _embedded(encoder: Model, x: Tensor, source: Source, rows: Tensor) -> Features:
    """Return the features of samples, which may be others than the source's own at these rows."""
    with Victim(encoder).held(), torch.no_grad():
        device = device_of_network(encoder)
        found = torch.cat([encoder(unit_range(some.to(device))).cpu().float() for some in torch.split(x, _AT_ONCE)])
    assert source.labels is not None
    return Features(found, source.labels[rows].cpu(), rows, source.classes)


def _cosine(one: Tensor, other: Tensor) -> float:
    return float(F.cosine_similarity(one.double(), other.double(), dim=1).mean())


def _pairwise(x: Tensor) -> float:
    """Return the mean cosine of two different rows."""
    unit = F.normalize(x.double(), dim=1)
    count = len(unit)
    return float((unit.sum(0).square().sum() - count) / max(1, count * (count - 1)))
