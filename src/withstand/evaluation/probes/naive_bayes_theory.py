"""What is known of naive Bayes against logistic regression, as functions: a bound, diagnostics, a simulation.

paper: Revisiting Discriminative vs. Generative Classifiers: Theory and Implications (2023)

Naive Bayes comes near its own asymptotic error with O(log D) samples where features are bounded, class shares and
variances are bounded away from 0, and the gap in log-likelihood between classes grows linearly in D (as for
independent features, a constant part of them informative). Logistic regression needs O(D), and its asymptotic error
is not larger. Hence two regimes: naive Bayes wins with few samples, logistic regression with many.

Sizes: `N` samples, `D` width (n in the paper), `K` classes.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.random import derive
from withstand.evaluation.probes.classifier import Array
from withstand.evaluation.probes.naive_bayes import NaiveBayesProbe

Covariance = Literal["easy", "hard"]


def logistic_transform(b: npt.ArrayLike) -> Array:
    """Return T(b) = ((1 + b) log(1 + b) + (1 - b) log(1 - b)) / 2 for zero-one excess errors b in [0, 1].

    The logistic loss's excess is at least T of the zero-one excess (H-consistency of multinomial logistic loss).

    Raises:
        ConfigError: b outside [0, 1].
    """
    b = np.asarray(b, dtype=np.float64)
    if not ((b >= 0) & (b <= 1)).all():
        raise ConfigError(f"an excess error lies in [0, 1], not in [{b.min():g}, {b.max():g}]")
    # Near 0 the two terms cancel to b^2 / 2: there, the same written as log(1 - b^2) / 2 + b atanh(b).
    small, large = np.minimum(b, 0.5), np.maximum(b, 0.5)
    near = np.log1p(-(small**2)) / 2 + small * np.arctanh(small)
    below = 1 - large
    far = ((1 + large) * np.log1p(large) + below * np.log(np.where(below > 0, below, 1.0))) / 2  # 0 log 0 = 0
    transform: Array = np.where(b <= 0.5, near, far)
    return transform


def zero_one_excess_bound(logistic_excess: npt.ArrayLike) -> Array:
    """Return the largest zero-one excess error that a logistic excess allows: the inverse of `logistic_transform`.

    It is at most sqrt(2 * excess), and 1 from an excess of log 2 on.

    Raises:
        ConfigError: a negative excess.
    """
    excess = np.asarray(logistic_excess, dtype=np.float64)
    if not (excess >= 0).all():
        raise ConfigError(f"an excess loss is at least 0, not {excess.min():g}")
    low, high = np.zeros_like(excess), np.ones_like(excess)
    for _ in range(60):  # halving: to the last bit of [0, 1]
        middle = (low + high) / 2
        over = logistic_transform(middle) > excess
        low, high = np.where(over, low, middle), np.where(over, middle, high)
    return high


@dataclass(frozen=True)
class NaiveBayesDiagnostics:
    """How far features are from what the theory assumes.

    Attributes:
        sigma: pooled within-class standard deviation of each feature `(D,)`; to be bounded away from 0.
        divergence: KL divergence between each two class conditionals (Gaussian, shared variances), `(K, K)`; to
            grow in proportion to D.
        log_ratio_variance: variance over class k of log p(x | k) - log p(x | l), `(K, K)`. For independent
            Gaussian features it is twice the divergence.
        dependence: `log_ratio_variance` over twice the divergence, averaged over pairs: 1 for independent
            features, up to D for copies of one feature.
        least_share: the rarest class's share; to be bounded away from 0.
        bounded: whether all features lie in [0, 1].
    """

    sigma: Array
    divergence: Array
    log_ratio_variance: Array
    dependence: float
    least_share: float
    bounded: bool


def naive_bayes_diagnostics(X: npt.ArrayLike, y: npt.ArrayLike, *, var_floor: float = 0.01) -> NaiveBayesDiagnostics:
    """Return the diagnostics of features `(N, D)` with labels `(N,)`; `var_floor` as in `NaiveBayesProbe`.

    Raises:
        DataError: fewer than two classes.
    """
    x, labels = np.asarray(X, dtype=np.float64), np.asarray(y)
    model = NaiveBayesProbe(var_floor=var_floor).fit(x, labels)
    count = len(model.classes_)
    if count < 2:
        raise DataError("diagnostics compare classes: at least two are needed")
    weight = model.theta_ / model.var_
    # Half the squared Mahalanobis distance of the means, by differences: the expanded square would lose digits.
    divergence = np.stack([((model.theta_ - mean) ** 2 / model.var_).sum(1) / 2 for mean in model.theta_])
    variance = np.zeros((count, count))
    for place, label in enumerate(model.classes_):
        rows = x[labels == label]
        # log p(x | k) - log p(x | l) is linear in x, up to a constant.
        variance[place] = ((rows - model.theta_[place]) @ (weight[place] - weight).T).var(0)
    pairs = ~np.eye(count, dtype=bool)
    informative = pairs & (divergence > 0)
    return NaiveBayesDiagnostics(
        sigma=np.sqrt(model.var_),
        divergence=divergence,
        log_ratio_variance=variance,
        dependence=float((variance[informative] / (2 * divergence[informative])).mean()),
        least_share=float(model.class_count_.min() / model.class_count_.sum()),
        bounded=bool(x.min() >= 0 and x.max() <= 1),
    )


def gaussian_classes(
    count: int, *, classes: int = 5, width: int = 100, covariance: Covariance = "easy", seed: int = 0
) -> tuple[Array, npt.NDArray[np.int64]]:
    """Draw the paper's simulation: Gaussian classes of equal share, in random order.

    Every coordinate of class k has mean -1 (k = 0) or 2^(k - 1). The first half of the coordinates has variance
    `width`, the second half 1; "easy" coordinates are independent. "hard" adds the off-diagonal part of A'A, A
    uniform in [-1, 1] and the same for every seed. That matrix is no covariance: it has negative eigenvalues.
    NumPy's `multivariate_normal`, which the official code calls, then draws from the matrix with their absolute
    values; so does this.

    Args:
        count: samples N.
        classes: K.
        width: coordinates D.
        covariance: "easy" or "hard".
        seed: of the draw.

    Returns:
        samples `(N, D)` and labels `(N,)`.

    Raises:
        ConfigError: an unknown covariance.
    """
    if covariance not in get_args(Covariance):
        raise ConfigError(f"covariance {covariance!r} is unknown: {nearest(str(covariance), get_args(Covariance))}")
    generator = np.random.default_rng(derive(seed, "gaussian classes"))
    labels = generator.permutation(np.arange(count) % classes)
    noise = generator.normal(size=(count, width))
    noise = noise * np.sqrt(simulated_variance(width)) if covariance == "easy" else noise @ _hard_root(width)
    return simulated_means(classes)[labels][:, None] + noise, labels


def simulated_means(classes: int) -> Array:
    """Return the mean that all coordinates of each class share in `gaussian_classes`, `(K,)`."""
    places = np.arange(classes)
    return np.where(places == 0, -1.0, 2.0 ** (places - 1))


def simulated_variance(width: int) -> Array:
    """Return the variance of each coordinate in `gaussian_classes` with independent ones, `(D,)`."""
    return np.where(np.arange(width) < width // 2, float(width), 1.0)


def _hard_root(width: int) -> Array:
    """Return the symmetric root of the hard covariance's absolute value."""
    a = np.random.default_rng(derive("hard covariance", width)).uniform(-1, 1, (width, width))
    matrix = a.T @ a
    np.fill_diagonal(matrix, simulated_variance(width))
    values, vectors = np.linalg.eigh(matrix)
    root: Array = (vectors * np.sqrt(np.abs(values))) @ vectors.T
    return root
