"""Naive Bayes probe: a Gaussian naive Bayes classifier on frozen features, linear when its variances are shared.

paper: Revisiting Discriminative vs. Generative Classifiers: Theory and Implications (2023)

Sizes: `N` samples, `D` width (n in the paper), `K` classes. All sums are in float64: float32 loses the small
variances. scikit-learn's GaussianNB is another model: per-class variances, smoothed relative to the largest.
"""

from typing import Literal, Self, get_args

import numpy as np
import numpy.typing as npt
import torch
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import nn

from withstand.core.errors import ConfigError, DataError, nearest
from withstand.evaluation.probes.classifier import Array, ScoredClassifier, linear_layer

Priors = Literal["empirical", "uniform"]


class NaiveBayesProbe(ScoredClassifier):
    """Gaussian naive Bayes in closed form, a scikit-learn estimator that becomes an `nn.Linear`.

    Class means mu_k, and biased variances var_kj around them. Shared variances are pooled with the empirical
    priors: v_j = sum_k (m_k / m) var_kj. The score of class k is
    log prior_k - 0.5 sum_j [(x_j - mu_kj)^2 / v_j + log 2 pi v_j].

    Args:
        eps: added to every variance, in squared feature units (1e-9 as in the official code).
        var_floor: least variance, as a share of the mean variance over features. The official code has none
            (0): a feature that is constant in a small sample then has variance eps and decides alone.
        shared_variance: one diagonal covariance for all classes, as in the paper, which makes the classifier
            linear; otherwise each class has its own.
        priors: "empirical" class shares, or "uniform".

    Attributes:
        classes_: the classes seen, sorted.
        class_count_: samples of each `(K,)`.
        theta_: class means `(K, D)`.
        var_: variances as used, `(D,)` when shared, else `(K, D)`.
    """

    def __init__(
        self,
        eps: float = 1e-9,
        *,
        var_floor: float = 0.01,
        shared_variance: bool = True,
        priors: Priors = "empirical",
    ) -> None:
        self.eps = eps
        self.var_floor = var_floor
        self.shared_variance = shared_variance
        self.priors = priors

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> Self:
        """Fit to features `(N, D)` and labels `(N,)`."""
        self._learn(X, y, None, fresh=True)
        self._check_variances()
        return self

    def partial_fit(self, X: npt.ArrayLike, y: npt.ArrayLike, classes: npt.ArrayLike | None = None) -> Self:
        """Add more samples; the result equals one fit to all of them (the parallel variance formula).

        A batch may lack classes, and may bring new ones. `classes` may name all of them ahead: those not seen
        yet are never predicted.
        """
        return self._learn(X, y, classes, fresh=not hasattr(self, "classes_"))

    def _learn(self, X: npt.ArrayLike, y: npt.ArrayLike, classes: npt.ArrayLike | None, *, fresh: bool) -> Self:
        if self.priors not in get_args(Priors):
            raise ConfigError(f"priors {self.priors!r} is unknown: {nearest(str(self.priors), get_args(Priors))}")
        if self.eps < 0 or self.var_floor < 0:
            raise ConfigError(f"eps and var_floor must be at least 0, not {self.eps} and {self.var_floor}")
        x, labels = validate_data(self, X, y, dtype=np.float64, reset=fresh)
        check_classification_targets(labels)
        known = np.unique(labels if classes is None else np.concatenate([labels, np.asarray(classes)]))
        if fresh:
            self.classes_ = known
            self.class_count_ = np.zeros(len(known))
            self.theta_ = np.zeros((len(known), x.shape[1]))
            self._squares = np.zeros((len(known), x.shape[1]))
        else:
            self._make_room(known)
        for place in np.searchsorted(self.classes_, np.unique(labels)):
            self._add(int(place), x[labels == self.classes_[place]])
        self._finish()
        return self

    def _make_room(self, known: npt.NDArray[np.generic]) -> None:
        """Widen the statistics to classes not met before."""
        union = np.union1d(self.classes_, known)
        places = np.searchsorted(union, self.classes_)
        for name in ("class_count_", "theta_", "_squares"):
            old = getattr(self, name)
            new = np.zeros((len(union), *old.shape[1:]))
            new[places] = old
            setattr(self, name, new)
        self.classes_ = union

    def _add(self, place: int, rows: Array) -> None:
        """Merge one class's rows: SSD = SSD1 + SSD2 + m1 m2 / (m1 + m2) (mu1 - mu2)^2."""
        old, new = self.class_count_[place], len(rows)
        mean = rows.mean(0)
        step = mean - self.theta_[place]
        self._squares[place] += ((rows - mean) ** 2).sum(0) + old * new / (old + new) * step**2
        self.theta_[place] += step * (new / (old + new))
        self.class_count_[place] += new

    def _finish(self) -> None:
        """Turn counts and squared deviations into variances."""
        if self.shared_variance:
            variance = self._squares.sum(0) / self.class_count_.sum()
        else:
            variance = self._squares / np.maximum(self.class_count_, 1)[:, None]
            variance[self.class_count_ == 0] = 1.0  # read, but multiplied by a prior of 0
        floor = self.var_floor * variance.mean(-1, keepdims=True)
        self.var_ = np.maximum(variance + self.eps, floor)

    def _check_variances(self) -> None:
        """Refuse variances of 0; `partial_fit` may still mend them, so it does not ask."""
        variance = np.atleast_2d(self.var_ if self.shared_variance else self.var_[self.class_count_ > 0])
        flat = int((variance == 0).any(0).sum())
        if flat:
            raise DataError(f"{flat} features do not vary within a class: give eps or var_floor above 0")

    def _log_priors(self) -> Array:
        weight = self.class_count_ if self.priors == "empirical" else (self.class_count_ > 0).astype(np.float64)
        with np.errstate(divide="ignore"):  # a class without samples: log 0
            log_priors: Array = np.log(weight / weight.sum())
        return log_priors

    def _scores(self, x: Array) -> Array:
        self._check_variances()
        scores = np.empty((len(x), len(self.classes_)))
        for place, (prior, mean) in enumerate(zip(self._log_priors(), self.theta_, strict=True)):
            variance = self.var_ if self.shared_variance else self.var_[place]
            normalizer = np.log(2 * np.pi * variance).sum()
            scores[:, place] = prior - 0.5 * (((x - mean) ** 2 / variance).sum(1) + normalizer)
        return scores

    def as_linear(self, *, dtype: torch.dtype = torch.float32) -> nn.Linear:
        """Return the scores, less what all classes share, as a layer: w_k = mu_k / v, in the order of `classes_`.

        Raises:
            ConfigError: the variances are not shared, so that the classifier is quadratic.
            DataError: a class has no samples yet.
        """
        check_is_fitted(self)
        if not self.shared_variance:
            raise ConfigError("only shared variances make naive Bayes linear: use shared_variance=True")
        if not self.class_count_.all():
            raise DataError("a class has no samples yet, so its scores are not numbers")
        self._check_variances()
        weight = self.theta_ / self.var_
        return linear_layer(weight, self._log_priors() - 0.5 * (weight * self.theta_).sum(1), dtype=dtype)
