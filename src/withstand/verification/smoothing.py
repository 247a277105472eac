"""Randomised smoothing: a certified L2 radius for networks that bounds cannot reach (Cohen, Rosenfeld, Kolter 2019).

The smoothed classifier answers with the class that the network gives most often under Gaussian noise. When that class
has probability at least p > 1/2, no perturbation of L2 norm below `sigma * Phi^-1(p)` changes the answer. p is bounded
from below by the exact binomial confidence bound of Clopper and Pearson, so each certificate is wrong with probability
at most `alpha`: this is a statement of high probability about the smoothed classifier, not a proof about the network.

Sizes: `N` samples, `K` classes. Noise is not clipped to the valid range: the network sees what lies outside.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy import stats
from torch import Tensor

from withstand.core.errors import ConfigError, DataError
from withstand.core.findings.finding import Table
from withstand.core.part import Part
from withstand.core.random import Draws, as_draws
from withstand.core.victims.victim import Victim

ABSTAIN = -1
"""The prediction where the counts do not allow any."""

_COPIES = 50
"""Noisy copies of a sample drawn at once. Fixed, so that draws do not depend on the batch."""


@dataclass(frozen=True)
class Smoothed:
    """What was certified, one row a sample.

    Attributes:
        prediction: class, int64 `(N,)`; `ABSTAIN` where none can be given with confidence.
        radius: certified L2 radius, float64 `(N,)`; 0 where it abstains.
        probability: lower confidence bound of the class's probability, float64 `(N,)`.
        counts: how often the class came up in the `samples` estimating draws, int64 `(N,)`.
    """

    prediction: Tensor
    radius: Tensor
    probability: Tensor
    counts: Tensor

    def certified(self, y: Tensor, eps: float) -> Tensor:
        """Return which samples are right, and stay right within `eps`, bool `(N,)`."""
        return (self.prediction == y.cpu()) & (self.radius > eps if eps > 0 else self.prediction != ABSTAIN)

    def curve(self, y: Tensor, radii: Sequence[float]) -> Table:
        """Return certified accuracy over radii."""
        rows = tuple((float(eps), float(self.certified(y, eps).double().mean())) for eps in sorted(radii))
        return Table(
            ("eps", "certified accuracy"), rows, x="eps", units={"eps": "radius", "certified accuracy": "share"}
        )


@dataclass(frozen=True)
class Smoothing(Part):
    """A classifier smoothed by Gaussian noise.

    Args:
        sigma: the noise's standard deviation in input units; the network should have been trained under it.
        samples: draws that estimate the probability of the class; the radius is at most
            `sigma * Phi^-1(alpha^(1 / samples))`.
        selection: draws before those, that choose the class.
        alpha: how probable a wrong certificate may be, for each sample.
        batch: noisy inputs in one forward pass.
    """

    sigma: float = 0.25
    samples: int = 1000
    selection: int = 100
    alpha: float = 0.001
    batch: int = 1000

    def __post_init__(self) -> None:
        if not 0 < self.sigma < float("inf"):
            raise ConfigError(f"sigma must be positive, not {self.sigma}")
        if self.samples < 1 or self.selection < 1 or self.batch < 1:
            raise ConfigError(
                "samples, selection and batch must be at least 1, "
                f"not {self.samples}, {self.selection} and {self.batch}"
            )
        if not 0 < self.alpha < 1:
            raise ConfigError(f"alpha must lie between 0 and 1, not {self.alpha}")

    @property
    def largest(self) -> float:
        """The radius that is certified when every draw gives one class."""
        return float(radius_of(lower_bound(torch.tensor([self.samples]), self.samples, self.alpha), self.sigma))

    def certify(self, victim: Victim, x: Tensor, *, generator: Draws | torch.Generator | int | None = None) -> Smoothed:
        """Return class and certified radius of each input.

        Args:
            victim: gives logits `(N, K)`.
            x: inputs `(N, ...)` in the victim's range.
            generator: draws, a torch generator or a seed.
        """
        x = victim.check(x)
        victim.examine(x)
        draws = as_draws(generator, len(x), x.device)
        chosen = self._counts(victim, x, draws.child("selection"), self.selection).argmax(1)
        counts = self._counts(victim, x, draws.child("estimation"), self.samples).gather(1, chosen[:, None])[:, 0]
        probability = lower_bound(counts, self.samples, self.alpha)
        sure = probability > 0.5
        radius = torch.where(sure, radius_of(probability.clamp_min(0.5), self.sigma), 0.0)
        return Smoothed(torch.where(sure, chosen, ABSTAIN), radius, probability, counts)

    def predict(self, victim: Victim, x: Tensor, *, generator: Draws | torch.Generator | int | None = None) -> Tensor:
        """Return the smoothed classifier's class, int64 `(N,)`, or `ABSTAIN`; wrong with probability `alpha` at most.

        The two leading classes are held against each other by the exact two-sided binomial test.
        """
        x = victim.check(x)
        victim.examine(x)
        counts = self._counts(victim, x, as_draws(generator, len(x), x.device).child("prediction"), self.samples)
        leading = counts.topk(2, dim=1)
        values = leading.values.tolist()
        sure = torch.tensor([stats.binomtest(a, a + b, 0.5).pvalue <= self.alpha for a, b in values], dtype=torch.bool)
        return torch.where(sure, leading.indices[:, 0], ABSTAIN)

    def _counts(self, victim: Victim, x: Tensor, draws: Draws, samples: int) -> Tensor:
        """Return how often each class came up, int64 `(N, K)` on the CPU."""
        group = max(1, self.batch // _COPIES)
        found = []
        with victim.held(), torch.no_grad():
            for start in range(0, len(x), group):
                rows = slice(start, start + group)
                found.append(self._group(victim, x[rows], draws[rows], samples))
        if not found:
            raise DataError("there are no inputs to certify")
        return torch.cat(found)

    def _group(self, victim: Victim, x: Tensor, draws: Draws, samples: int) -> Tensor:
        counts: Tensor | None = None
        for place, done in enumerate(range(0, samples, _COPIES)):
            copies = min(_COPIES, samples - done)
            noise = draws.child(place).normal(_COPIES, *x.shape[1:])[:, :copies].to(x)
            noisy = (x[:, None] + self.sigma * noise).flatten(0, 1)
            logits = torch.cat([victim.output(part) for part in torch.split(noisy, self.batch)])
            if logits.dim() != 2 or logits.shape[1] < 2:
                raise DataError(f"smoothing needs logits (N, classes), not {tuple(logits.shape)}")
            votes = logits.argmax(1).view(len(x), copies).cpu()
            if counts is None:
                counts = torch.zeros(len(x), logits.shape[1], dtype=torch.int64)
            counts.scatter_add_(1, votes, torch.ones_like(votes))
        assert counts is not None
        return counts


def lower_bound(counts: Tensor, samples: int, alpha: float) -> Tensor:
    """Return the one-sided Clopper-Pearson bound of a probability, float64, from successes among `samples` draws.

    The bound b solves P[Binomial(samples, b) >= count] = alpha.

    >>> round(float(lower_bound(torch.tensor([100]), 100, 0.001)), 6) == round(0.001 ** (1 / 100), 6)
    True
    """
    hits = counts.double().cpu().numpy()
    bound = torch.from_numpy(stats.beta.ppf(alpha, hits, samples - hits + 1))
    return torch.where(counts.cpu() > 0, bound, 0.0)


def radius_of(probability: Tensor, sigma: float) -> Tensor:
    """Return the L2 radius that a class of at least this probability is certified for, `sigma * Phi^-1(p)`."""
    radius: Tensor = sigma * torch.special.ndtri(probability.double())
    return radius
