"""The linear probe: multinomial logistic regression on frozen features, converged, with C chosen on train alone.

Sizes: `N` samples, `D` width, `K` classes. The objective is scikit-learn's: 0.5 ||W||^2 + C sum_i log-loss_i.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from withstand.core.errors import ConfigError, DataError
from withstand.evaluation.features import Features
from withstand.evaluation.probes.classifier import Array, ScoredClassifier, linear_layer
from withstand.evaluation.probes.splits import hold_out

INSIDE = "the best C lies inside its grid"
"""What a check is called that says where it does not."""
_THREADED = 1 << 24
"""Numbers in the features from which on the fit uses all cores."""


class LogisticProbe(ScoredClassifier):
    """Multinomial logistic regression by L-BFGS, a scikit-learn estimator that becomes an `nn.Linear`.

    Args:
        C: inverse strength of the L2 penalty on the weights.
        max_iter: most L-BFGS iterations.
        tol: the largest gradient entry at which it stops.

    Attributes:
        coef_: weights `(K, D)`, one row a class, also for two classes.
        intercept_: biases `(K,)`.
        converged_: whether `tol` was met within `max_iter`.
        n_iter_: iterations used.
    """

    def __init__(self, C: float = 1.0, *, max_iter: int = 1000, tol: float = 1e-4) -> None:
        self.C = C
        self.max_iter = max_iter
        self.tol = tol

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> Self:
        """Fit weights to features `(N, D)` and labels `(N,)`."""
        return self._fit(X, y, LogisticRegression())

    def _fit(self, X: npt.ArrayLike, y: npt.ArrayLike, model: LogisticRegression) -> Self:
        """Fit by `model`, which may hold the weights to start from."""
        x, labels = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(labels)
        model.set_params(C=self.C, max_iter=self.max_iter, tol=self.tol)
        # Products with so few columns gain nothing from threads and lose much to waiting when cores are shared.
        threads = 1 if x.size < _THREADED else None
        with threadpool_limits(threads), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            model.fit(x, labels)
        self.converged_ = not any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
        self.classes_ = model.classes_
        # For two classes scikit-learn keeps one row, the second class's.
        two = len(self.classes_) == 2
        self.coef_ = np.vstack([np.zeros_like(model.coef_), model.coef_]) if two else model.coef_
        self.intercept_ = np.append(0.0, model.intercept_) if two else model.intercept_
        self.n_iter_ = int(model.n_iter_.max())
        return self

    def as_linear(self, *, dtype: torch.dtype = torch.float32) -> nn.Linear:
        """Return the scores as a layer; its outputs are in the order of `classes_`."""
        check_is_fitted(self)
        return linear_layer(self.coef_, self.intercept_, dtype=dtype)

    def _scores(self, x: Array) -> Array:
        scores: Array = x @ self.coef_.T + self.intercept_
        return scores


@dataclass(frozen=True)
class LinearProbe:
    """A fitted probe on raw features.

    Attributes:
        model: logistic regression on standardized features.
        mean: the train features' means `(D,)`.
        std: their standard deviations `(D,)`; 1 for a constant feature.
        tried: (C, accuracy on the held-out part of train) of every C tried; empty when C was given.
    """

    model: LogisticProbe
    mean: Array
    std: Array
    tried: tuple[tuple[float, float], ...]

    def predict(self, x: Tensor) -> Tensor:
        """Return the classes of features `(N, D)`, int64 `(N,)`."""
        return torch.from_numpy(self.model.predict(_standardized(x, self.mean, self.std)))

    def probabilities(self, x: Tensor) -> Array:
        """Return those of the classes that train has, `model.classes_`, of features `(N, D)`, float64."""
        return self.model.predict_proba(_standardized(x, self.mean, self.std))

    def as_linear(self) -> nn.Linear:
        """Return the probe as one float32 layer on raw features, standardization folded in.

        Raises:
            DataError: the labels in train have gaps, so that output k would not be class k.
        """
        if not np.array_equal(self.model.classes_, np.arange(len(self.model.classes_))):
            raise DataError(f"train lacks some of the classes below {int(self.model.classes_.max()) + 1}: relabel them")
        return linear_layer(self.model.coef_, self.model.intercept_, shift=self.mean, scale=1 / self.std)


def fit_linear(
    train: Features,
    *,
    C: float | Sequence[float] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0),
    held_out: float = 0.2,
    seed: int = 0,
    max_iter: int = 1000,
    tol: float = 1e-4,
) -> LinearProbe:
    """Fit a linear probe on train features, standardized by their own statistics.

    Args:
        train: labelled features.
        C: one value, or several of which the best on a held-out part of train is taken (the smallest of equally
            good ones) and fitted again on all of train.
        held_out: share of each class held out for the choice.
        seed: of the held-out part, with each sample's index.
        max_iter: most L-BFGS iterations.
        tol: gradient entry at which L-BFGS stops.

    Raises:
        ConfigError: no C, or one that is not positive.
        DataError: no labels, fewer than two classes, or too few samples to hold any out.
    """
    grid = tuple(sorted(C)) if isinstance(C, Sequence) else (C,)
    if not grid or grid[0] <= 0:
        raise ConfigError(f"C must be positive, or several positive values, not {C!r}")
    if bool((train.labels == train.labels[0]).all()):
        raise DataError("a linear probe needs labels of at least two classes in train")
    tried: tuple[tuple[float, float], ...] = ()
    best = grid[0]
    if len(grid) > 1:
        kept, held = hold_out(train, held_out, seed, "linear")
        fits = _path(kept, grid, max_iter, tol)
        tried = tuple((fit.model.C, float((fit.predict(held.x) == held.labels).double().mean())) for fit in fits)
        best = max(tried, key=lambda pair: pair[1])[0]
    return replace(_path(train, (best,), max_iter, tol)[0], tried=tried)


def _path(train: Features, grid: Sequence[float], max_iter: int, tol: float) -> list[LinearProbe]:
    """Fit every C of the ascending grid, each from the one before: the weights grow along it."""
    x = train.x.numpy().astype(np.float64)
    mean, std = x.mean(0), x.std(0)
    std[std <= 1e-7 * np.abs(mean)] = 1.0  # constant, up to float32's round-off
    x -= mean
    x /= std
    solver = LogisticRegression(warm_start=True)
    return [
        LinearProbe(LogisticProbe(C, max_iter=max_iter, tol=tol)._fit(x, train.labels.numpy(), solver), mean, std, ())
        for C in grid
    ]


def grid_for(labels: Tensor, grid: Sequence[float]) -> tuple[float, ...]:
    """Return the grid, or its smallest C alone where no class has two samples, so that none can be held out."""
    return tuple(grid) if int(torch.bincount(labels).max()) > 1 else (min(grid),)


def on_the_edge(what: str, best: float, grid: Sequence[float]) -> str:
    """Return that the best value of a grid is one of its ends, "" where it is not.

    >>> on_the_edge("C", 0.001, (0.001, 0.01, 0.1))
    "the best regularisation, C = 0.001, is the grid's smallest"
    """
    if len(grid) < 2 or min(grid) < best < max(grid):
        return ""
    return f"the best regularisation, {what} = {best:g}, is the grid's {'smallest' if best == min(grid) else 'largest'}"


def _standardized(x: Tensor, mean: Array, std: Array) -> Array:
    return (x.numpy().astype(np.float64) - mean) / std
