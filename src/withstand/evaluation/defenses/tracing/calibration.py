"""What evidence is worth: probabilities and p-values of copies, learnt from attacks whose source is known.

All is corrected for the number of candidates: a probability is shared out among all of them and an unknown source, and
a p-value is multiplied by their number (Bonferroni).
Sizes: N self-made examples, R registered copies, S sources: the registered copies, those kept back, the classifier.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize
from scipy.stats import t as student
from torch import Tensor
from torch.nn.functional import cross_entropy

from withstand.core.errors import ConfigError, DataError
from withstand.core.random import Draws, derive

_GROUPS = 64
"""Groups of each source's examples that pooled evidence is calibrated on."""


@dataclass(frozen=True)
class Cases:
    """Self-made adversarial examples whose source is known.

    Attributes:
        score: the evidence, `(N, R)`.
        source: where each was made, `(N,)`: a registered copy below R, anything else from R on.
    """

    score: Tensor
    source: Tensor

    def __post_init__(self) -> None:
        object.__setattr__(self, "score", self.score.cpu())
        object.__setattr__(self, "source", self.source.cpu())
        if not len(self.score):
            raise DataError("no attack on any copy succeeded: there is nothing to calibrate on")


@dataclass(frozen=True)
class Worth:
    """What the evidence of some pictures is worth.

    Attributes:
        score: their mean standardised difference of logits, of each registered copy, `(R,)`.
        confidence: the probability of each copy, `(R,)`; they and that of an unknown source are 1 together.
        unknown: the probability that none of them is the source.
        p: of each copy, the probability of a score as high if it is not the source, times R, at most 1, `(R,)`.
        pooled: how many pictures the evidence counts as.
    """

    score: Tensor
    confidence: Tensor
    unknown: float
    p: Tensor
    pooled: int

    def named(self, confidence: float, level: float) -> int | None:
        """Return the copy that is likely enough and whose p-value is low enough; None where the source is unknown."""
        place = int(self.confidence.argmax())
        return place if float(self.confidence[place]) >= confidence and float(self.p[place]) <= level else None


@dataclass(frozen=True)
class Calibration:
    """Turns evidence into what it is worth.

    Args:
        cases: self-made.
        prior: the probability, before any evidence, that the source is none of the registered copies.
        seed: of the groups that stand for pooled pictures.
    """

    cases: Cases
    prior: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.prior < 1:
            raise ConfigError(f"prior, of an unknown source, must lie between 0 and 1, not {self.prior!r}")

    @property
    def sources(self) -> list[int]:
        """The sources that examples were made on."""
        return sorted(set(self.cases.source.tolist()))

    @property
    def most(self) -> int:
        """How many pictures evidence counts as at most: half of what the source with fewest gave."""
        return max(1, min(self._counts()) // 2)

    def _counts(self) -> list[int]:
        """Return how many examples each source gave."""
        return [int((self.cases.source == source).sum()) for source in self.sources]

    def worth(self, score: Tensor) -> Worth:
        """Return what the evidence of pictures of one source is worth together.

        Args:
            score: `(N, R)`, of pictures that all come from one source, whichever.

        Raises:
            DataError: no pictures.
        """
        if not len(score):
            raise DataError("there are no pictures to trace")
        return self._worth(score.double().mean(0, keepdim=True), min(len(score), self.most))[0]

    def each(self, score: Tensor) -> list[Worth]:
        """Return what each picture's evidence is worth alone, of `(N, R)`."""
        return self._worth(score.double(), 1)

    def _worth(self, mean: Tensor, pooled: int) -> list[Worth]:
        mean = mean.cpu()
        slope, offset = self._fitted(pooled)
        told = torch.cat([slope * pooled * mean, torch.full((len(mean), 1), offset, dtype=torch.float64)], 1).softmax(1)
        ceiling = self._ceiling(pooled)
        told = ceiling * told + (1 - ceiling) / told.shape[1]
        copies = mean.shape[1]
        p = torch.stack([self._p(place, mean[:, place], pooled) for place in range(copies)], 1) * copies
        return [
            Worth(*each, pooled) for each in zip(mean, told[:, :-1], told[:, -1].tolist(), p.clamp_max(1), strict=True)
        ]

    def _ceiling(self, pooled: int) -> float:
        """Return how sure one can be at most: of n cases that all came out right the next does by (n + 1) / (n + 2)."""
        cases = sum(count // pooled for count in self._counts())
        return (cases + 1) / (cases + 2)

    def _groups(self, pooled: int) -> tuple[Tensor, Tensor]:
        """Return mean evidence of groups of self-made examples `(G, R)`, and their sources `(G,)`."""
        if pooled == 1:
            return self.cases.score.double(), self.cases.source
        found, source = [], []
        for one in self.sources:
            mine = self.cases.score[self.cases.source == one].double()
            order = Draws(derive(self.seed, "groups", one), torch.arange(_GROUPS)).permutations(len(mine))
            found.append(mine[order[:, :pooled]].mean(1))
            source.append(torch.full((_GROUPS,), one))
        return torch.cat(found), torch.cat(source)

    def _fitted(self, pooled: int) -> tuple[float, float]:
        """Return slope and offset of the most likely choice among the copies and an unknown source.

        The log-odds of copy i over an unknown source are slope * pooled * score_i - offset. Examples of sources that
        are not registered weigh the prior together, the others the rest. Where none are, the offset is that of the
        prior alone.
        """
        score, source = self._groups(pooled)
        score, copies = score * pooled, score.shape[1]
        known = source < copies
        label = torch.where(known, source, copies)
        weight = torch.zeros(len(score), dtype=torch.float64)
        for mine, share in ((known, 1 - self.prior), (~known, self.prior)):
            if bool(mine.any()):
                weight[mine] = share / int(mine.sum())
        weight = weight / weight.sum()
        scale = float(score.std().clamp_min(1e-6))
        start = math.log(copies * self.prior / (1 - self.prior))
        fixed = not bool((~known).any())

        def loss(values: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
            at = torch.tensor(values, requires_grad=True)
            slope, offset = at[0].exp() / scale, at.new_tensor(start) if fixed else at[1]
            choices = torch.cat([slope * score, offset.expand(len(score), 1)], 1)
            value = (weight * cross_entropy(choices, label, reduction="none")).sum()
            # One part in a thousand against slopes without end, where self-made examples are told apart without error.
            value = value + 1e-3 * at[0].square()
            return float(value.detach()), torch.autograd.grad(value, at)[0].numpy()

        found = minimize(loss, np.array([0.0, start]), jac=True, method="L-BFGS-B").x
        return math.exp(found[0]) / scale, start if fixed else float(found[1])

    def _p(self, place: int, mean: Tensor, pooled: int) -> Tensor:
        """Return the probability that a source other than a copy gives it so high a score, by Student's t over sources.

        Sources differ, and are few: their spread counts in full, however many pictures are pooled.
        """
        others = [self.cases.score[self.cases.source == one, place].double() for one in self.sources if one != place]
        if len(others) < 2:
            return torch.ones_like(mean)
        means = torch.stack([one.mean() for one in others])
        within = torch.stack([one.var(correction=0) for one in others]).mean()
        spread = means.var() * (1 + 1 / len(others)) + within / pooled
        if not float(spread) > 0:
            return torch.ones_like(mean)
        away = (mean - means.mean()) / spread.sqrt()
        return torch.from_numpy(np.asarray(student.sf(away.numpy(), df=len(others) - 1)))
