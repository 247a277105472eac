"""Detectors that need no model besides the classifier: what a cleverer one must beat.

Sizes: `N` samples, `M` reference samples, `W` feature width, `C` classes.
"""

from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from withstand.core.errors import ConfigError, DataError
from withstand.core.random import Draws
from withstand.core.victims.victim import Victim
from withstand.defenses.detector import Confidence, Detector, Gauge, Reading
from withstand.defenses.small import small_features, small_pictures, small_victim


class MaxSoftmax(Detector):
    """The classifier's own confidence (Hendrycks and Gimpel, 2017): its largest probability.

    Args:
        victim: the classifier that is guarded.
    """

    def __init__(self, victim: Victim | nn.Module) -> None:
        super().__init__(victim, Confidence(), 0)

    @classmethod
    def example(cls) -> Self:
        return cls(small_victim())


class _Nearest(Gauge):
    bank: Tensor

    def __init__(self, features: nn.Module, bank: Tensor, neighbours: int) -> None:
        super().__init__()
        self.features, self.neighbours = features, neighbours
        self.register_buffer("bank", bank)

    def forward(self, x: Tensor, logits: Tensor, draws: Draws) -> Reading:
        cosines = F.normalize(self.features(x), dim=1) @ self.bank.T
        score = cosines.topk(self.neighbours, dim=1).values[:, -1]
        return Reading(score, score[:, None].expand_as(logits))


class NearestFeatures(Detector):
    """Nearness to clean features (Sun et al., Out-of-distribution detection with deep nearest neighbors, 2022).

    The score is the cosine to the k-th nearest reference, which orders inputs as minus the distance of unit-length
    features does.

    Args:
        victim: the classifier that is guarded.
        features: inputs in the victim's range to features `(N, W)`, usually the classifier without its last layer.
        reference: clean inputs `(M, ...)`, usually some of what the classifier learnt from.
        neighbours: k.
    """

    def __init__(
        self, victim: Victim | nn.Module, features: nn.Module, reference: Tensor, *, neighbours: int = 10
    ) -> None:
        if not 1 <= neighbours <= len(reference):
            raise ConfigError(f"neighbours must lie between 1 and the {len(reference)} references, not {neighbours}")
        bank = F.normalize(_embedded(features, reference), dim=1)
        super().__init__(victim, _Nearest(features, bank, neighbours), 0)

    @classmethod
    def example(cls) -> Self:
        return cls(small_victim(), small_features(), small_pictures())


class _Gaussian(Gauge):
    means: Tensor
    whiten: Tensor

    def __init__(self, features: nn.Module, means: Tensor, whiten: Tensor) -> None:
        super().__init__()
        self.features = features
        self.register_buffer("means", means)
        self.register_buffer("whiten", whiten)

    def forward(self, x: Tensor, logits: Tensor, draws: Draws) -> Reading:
        away = self.features(x)[:, None] - self.means
        score = -(away @ self.whiten).square().sum(2).amin(1)
        return Reading(score, score[:, None].expand_as(logits))


class Mahalanobis(Detector):
    """Minus the squared distance to the nearest class of clean features (Lee et al., 2018): one covariance for all.

    Classes are the classifier's own predictions, so that no labels are needed.

    Args:
        victim: the classifier that is guarded.
        features: inputs in the victim's range to features `(N, W)`.
        reference: clean inputs `(M, ...)`, usually some of what the classifier learnt from.
        ridge: added to the covariance's diagonal, as a share of its mean.

    Raises:
        DataError: too few references for a covariance.
    """

    def __init__(
        self, victim: Victim | nn.Module, features: nn.Module, reference: Tensor, *, ridge: float = 1e-3
    ) -> None:
        if len(reference) < 2:
            raise DataError(f"a covariance needs at least 2 references, not {len(reference)}")
        guarded = victim if isinstance(victim, Victim) else Victim(victim)
        with guarded.held(), torch.no_grad():
            classes = guarded.output(guarded.check(reference)).argmax(1)
        found = _embedded(features, reference)
        wide = found.double()
        known, place = torch.unique(classes, return_inverse=True)
        means = torch.stack([wide[place == one].mean(0) for one in range(len(known))])
        away = wide - means[place]
        covariance = away.T @ away / len(away)
        scale = covariance.diagonal().mean().clamp_min(torch.finfo(torch.float64).tiny)
        covariance += ridge * scale * torch.eye(len(covariance), dtype=torch.float64, device=covariance.device)
        # With precision L L^T, (z - m)^T P (z - m) is the squared length of (z - m) L.
        whiten = torch.linalg.cholesky(torch.linalg.inv(covariance))
        super().__init__(victim, _Gaussian(features, means.to(found), whiten.to(found)), 0)

    @classmethod
    def example(cls) -> Self:
        return cls(small_victim(), small_features(), small_pictures())


def _embedded(features: nn.Module, x: Tensor, batch: int = 512) -> Tensor:
    """Return the features of inputs, `(M, W)`."""
    with Victim(features).held(), torch.no_grad():
        return torch.cat([features(x[start : start + batch].clone()) for start in range(0, len(x), batch)])
