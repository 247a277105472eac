import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from withstand.core.errors import ConfigError, DataError
from withstand.evaluation.probes.naive_bayes_theory import (
    gaussian_classes,
    logistic_transform,
    naive_bayes_diagnostics,
    simulated_means,
    simulated_variance,
    zero_one_excess_bound,
)


def test_transform_at_its_ends_and_in_between() -> None:
    np.testing.assert_allclose(logistic_transform([0.0, 1.0]), [0.0, np.log(2)])
    b = np.linspace(0, 0.999, 50)
    # T(b) is log 2 less the entropy of (1 + b) / 2.
    p = (1 + b) / 2
    np.testing.assert_allclose(logistic_transform(b), np.log(2) + p * np.log(p) + (1 - p) * np.log(1 - p), atol=1e-12)


@given(st.floats(0, 1))
def test_bound_inverts_the_transform_and_is_below_the_square_root(b: float) -> None:
    excess = logistic_transform(b)
    bound = zero_one_excess_bound(excess)
    assert abs(logistic_transform(bound) - excess) < 1e-12
    assert bound <= np.sqrt(2 * excess) + 1e-7


def test_bound_is_1_when_the_excess_is_large() -> None:
    np.testing.assert_allclose(zero_one_excess_bound([0.0, np.log(2), 3.0]), [0.0, 1.0, 1.0], atol=1e-7)
    with pytest.raises(ConfigError):
        zero_one_excess_bound(-0.1)
    with pytest.raises(ConfigError):
        logistic_transform(1.1)


def test_diagnostics_of_independent_features() -> None:
    x, y = gaussian_classes(20_000, classes=3, width=20, seed=1)
    found = naive_bayes_diagnostics(x, y, var_floor=0.0)
    np.testing.assert_allclose(found.sigma**2, simulated_variance(20), rtol=0.05)
    means = simulated_means(3)
    expected = ((means[:, None] - means[None]) ** 2)[..., None] / simulated_variance(20) / 2
    np.testing.assert_allclose(found.divergence, expected.sum(-1), rtol=0.05)
    assert abs(found.dependence - 1) < 0.05
    assert abs(found.least_share - 1 / 3) < 1e-3
    assert not found.bounded


def test_dependence_counts_copies_of_a_feature() -> None:
    x, y = gaussian_classes(5000, classes=2, width=1, seed=1)
    assert abs(naive_bayes_diagnostics(np.repeat(x, 8, axis=1), y).dependence - 8) < 0.2


def test_diagnostics_need_two_classes() -> None:
    with pytest.raises(DataError, match="at least two"):
        naive_bayes_diagnostics(np.random.default_rng(0).random((5, 2)), np.zeros(5))


@pytest.mark.parametrize("covariance", ["easy", "hard"])
def test_simulation_is_as_described(covariance: str) -> None:
    x, y = gaussian_classes(50_000, classes=5, width=6, covariance=covariance, seed=0)
    assert np.bincount(y).tolist() == [10_000] * 5
    for label, mean in enumerate([-1, 1, 2, 4, 8]):
        np.testing.assert_allclose(x[y == label].mean(0), mean, atol=0.15)
    centered = x - simulated_means(5)[y][:, None]
    covariances = centered.T @ centered / len(x)
    off = np.abs(covariances - np.diag(np.diag(covariances))).max()
    assert off < 0.15 if covariance == "easy" else off > 0.3


def test_simulation_is_seeded_and_shares_its_hard_covariance() -> None:
    one, two = (gaussian_classes(20_000, width=4, covariance="hard", seed=seed)[0] for seed in (0, 1))
    assert not np.array_equal(one, two)
    np.testing.assert_allclose(np.cov(one.T), np.cov(two.T), atol=0.6)
    np.testing.assert_array_equal(one, gaussian_classes(20_000, width=4, covariance="hard", seed=0)[0])
    with pytest.raises(ConfigError, match="'hard'"):
        gaussian_classes(10, covariance="herd")
