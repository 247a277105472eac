"""Numbers from frozen features: ridge regression, its penalty chosen by leaving out one sample at a time.

Sizes: `N` samples, `D` width.
"""

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.linear_model import RidgeCV
from torch import Tensor, nn

from withstand.core.errors import DataError
from withstand.evaluation.probes.classifier import Array, linear_layer

GRID = tuple(np.logspace(-2, 4, 7).tolist())
"""Penalties of which the best is taken."""


@dataclass(frozen=True)
class RidgeProbe:
    """A fitted regression on raw features.

    Attributes:
        coef: weights on standardized features, `(D,)`.
        intercept: the target's mean.
        mean: the train features' means `(D,)`.
        std: their standard deviations `(D,)`; infinite for a constant feature.
        alpha: the penalty that was chosen.
    """

    coef: Array
    intercept: float
    mean: Array
    std: Array
    alpha: float

    def predict(self, x: Tensor) -> Tensor:
        """Return the numbers of features `(N, D)`, float64 `(N,)`."""
        return torch.from_numpy((x.double().numpy() - self.mean) / self.std @ self.coef + self.intercept)

    def as_linear(self) -> nn.Linear:
        """Return the probe as one float32 layer on raw features: numbers `(B, 1)`, to which the intercept is added."""
        return linear_layer(self.coef[None], np.zeros(1), shift=self.mean, scale=1 / self.std)


def fit_ridge(x: Tensor, values: Tensor, *, alphas: tuple[float, ...] = GRID) -> RidgeProbe:
    """Fit a regression to features `(N, D)` and numbers `(N,)`, features standardized by their own statistics.

    Raises:
        DataError: fewer than two samples, or a number that is not finite.
    """
    y = values.double()
    if len(x) != len(y) or len(y) < 2 or not bool(y.isfinite().all()):
        raise DataError(f"a regression needs two samples or more, each with a finite number, not {len(x)} and {len(y)}")
    rows = x.double().numpy()
    mean, std = rows.mean(0), rows.std(0)
    std[std <= 1e-7 * np.abs(mean) + 1e-12] = np.inf  # constant, up to float32's round-off
    model = RidgeCV(alphas=np.array(alphas)).fit((rows - mean) / std, y.numpy())
    return RidgeProbe(np.asarray(model.coef_), float(model.intercept_), mean, std, float(model.alpha_))
