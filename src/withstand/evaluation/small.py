"""Small data, networks and guards, for the examples that evaluators give of themselves."""

from collections.abc import Mapping

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from withstand.core.batch import Batch
from withstand.core.random import isolated
from withstand.core.roles import Defense, Gradient, Indices, Outcome, Source
from withstand.core.victims.victim import Outputs, Victim
from withstand.data.arrays.source import ArraySource
from withstand.data.derived.wrapped import Wrapped
from withstand.data.pictures.domains import DOMAIN
from withstand.data.tables.source import TableSource

SURE = 0.5
"""The probability from which the small detector accepts an answer."""


def small_pictures(count: int = 24, size: int = 8) -> Source:
    """Return random pictures `(3, size, size)` of four classes, the same at every call."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)
    return ArraySource(x, torch.arange(count) % 4, layout="NCHW", classes=("a", "b", "c", "d"))


def small_digits(count: int = 24) -> Source:
    """Return real digits `(1, 8, 8)`, none of which `digit_classifier` has seen."""
    bunch = load_digits()
    return ArraySource(bunch.images[-count:, None].astype(np.float32) / 16, bunch.target[-count:], layout="NCHW")


def digit_classifier() -> Victim:
    """Return a linear classifier of such digits: the nearest mean of a class decides."""
    bunch = load_digits()
    x, y = torch.tensor(bunch.images[:1200] / 16, dtype=torch.float32).flatten(1), torch.tensor(bunch.target[:1200])
    means = torch.stack([x[y == label].mean(0) for label in range(10)])
    layer = nn.Linear(64, 10)
    with torch.no_grad():
        layer.weight.copy_(2 * means)
        layer.bias.copy_(-means.square().sum(1))
    return Victim(nn.Sequential(nn.Flatten(), layer).eval())


def untrained(inputs: int = 64, outputs: int = 8) -> nn.Module:
    """Return a linear network of flat samples with random weights, the same at every call."""
    with isolated("an example's weights"):
        return nn.Sequential(nn.Flatten(), nn.Linear(inputs, outputs))


class DigitsByDomain(Wrapped):
    """Small digits of three domains."""

    def __init__(self) -> None:
        self._wrap(small_digits())

    def __getitem__(self, indices: Indices) -> Batch:
        return self.source[indices]

    @property
    def attributes(self) -> Mapping[str, Tensor]:
        return {DOMAIN: torch.arange(len(self)) % 3}

    @property
    def group_names(self) -> Mapping[str, tuple[str, ...]]:
        return {DOMAIN: ("a", "b", "c")}

    def fingerprint(self) -> str:
        return f"{self.source.fingerprint()} by domain"


def small_rows() -> Source:
    """Return 120 rows, of whose two columns one tells the answer."""
    draws = np.random.default_rng(0)
    key, other = draws.normal(size=120), draws.normal(size=120)
    return TableSource(
        {"other": other, "key": key, "answer": np.where(key > 0, "yes", "no")}, part="train", target="answer"
    )


def rounding(victim: Victim) -> Defense:
    """Return a guard that rounds inputs to four levels."""
    return _Rounding(victim)


def doubting(victim: Victim) -> Defense:
    """Return a guard that rejects inputs of which a classifier is not sure."""
    return _Doubting(victim)


class _Rounding(Defense):
    """Hands on inputs in [0, 1], rounded to four levels."""

    def __init__(self, victim: Victim) -> None:
        self.victim = victim

    def __call__(self, x: Tensor) -> Outcome:
        used = (3 * x).round() / 3
        return Outcome(self.victim(used), None, used)

    def exposed(self, gradient: Gradient | None = None) -> Victim:
        return Victim(_Rounded(self.victim, straight=gradient != "exact"))


class _Guarded(nn.Module):
    """What an attacker meets; it holds the guarded network, so that this is frozen with it."""

    def __init__(self, victim: Victim) -> None:
        super().__init__()
        self.victim, self.model = victim, victim.model


class _Rounded(_Guarded):
    """Slopes pass as if nothing had been rounded, or not at all."""

    def __init__(self, victim: Victim, *, straight: bool) -> None:
        super().__init__(victim)
        self.straight = straight

    def forward(self, x: Tensor) -> Outputs:
        rounded = (3 * x).round() / 3
        return self.victim(x + (rounded - x).detach() if self.straight else rounded)


class _Doubting(Defense):
    """Scores an input by the largest probability."""

    def __init__(self, victim: Victim) -> None:
        self.victim = victim

    def __call__(self, x: Tensor) -> Outcome:
        outputs = self.victim(x)
        score = Outcome(outputs, None, x).logits.softmax(1).amax(1)
        return Outcome(outputs, score, x, score > SURE)

    def exposed(self, gradient: Gradient | None = None) -> Victim:
        return Victim(_Doubted(self.victim))


class _Doubted(_Guarded):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        logits = Outcome(self.victim(x), None, x).logits
        appeal = logits.softmax(1) - SURE
        return {"logits": logits, "lead": appeal.amax(1), "appeal": appeal}
