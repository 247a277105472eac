import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.base import BaseEstimator, clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import NearestCentroid
from sklearn.utils.estimator_checks import check_estimator

from withstand.core.errors import ConfigError, DataError
from withstand.evaluation.probes.naive_bayes import NaiveBayesProbe
from withstand.evaluation.probes.naive_bayes_theory import gaussian_classes, simulated_means, simulated_variance


def exact(**settings: object) -> NaiveBayesProbe:
    """The paper's model without any smoothing."""
    return NaiveBayesProbe(**{"eps": 0.0, "var_floor": 0.0, **settings})


def samples(count: int = 300, classes: int = 4, width: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    y = generator.choice(classes, count, p=np.arange(1, classes + 1) / sum(range(1, classes + 1)))
    y[:classes] = np.arange(classes)
    centers = np.random.default_rng(7).normal(size=(classes, width))
    return centers[y] + generator.normal(size=(count, width)) * np.linspace(0.5, 2, width), y


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@pytest.mark.parametrize(
    "probe", [NaiveBayesProbe(), NaiveBayesProbe(shared_variance=False), NaiveBayesProbe(priors="uniform")]
)
def test_is_a_scikit_learn_estimator(probe: NaiveBayesProbe) -> None:
    check_estimator(probe)
    assert clone(probe).get_params() == probe.get_params()


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("priors", ["empirical", "uniform"])
def test_linear_form_equals_quadratic_form(classes: int, priors: str) -> None:
    x, y = samples(classes=classes)
    model = exact(priors=priors).fit(x, y)
    layer = model.as_linear(dtype=torch.float64)
    linear = layer(torch.from_numpy(x)).detach().numpy()
    quadratic = model.scores(x)
    np.testing.assert_allclose(linear - linear[:, :1], quadratic - quadratic[:, :1], atol=1e-9)
    np.testing.assert_array_equal(linear.argmax(1), model.predict(x))
    assert model.as_linear()(torch.from_numpy(x).float()).dtype == torch.float32


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.integers(1, 299), min_size=1, max_size=4, unique=True))
def test_parts_in_any_cut_and_order_equal_one_fit(seed: int, cuts: list[int]) -> None:
    x, y = samples(seed=seed)
    # Sorted by class, most parts lack most classes.
    order = y.argsort()
    whole = exact().fit(x, y)
    parts = exact()
    for rows in np.split(order, sorted(cuts)):
        parts.partial_fit(x[rows], y[rows])
    np.testing.assert_array_equal(parts.classes_, whole.classes_)
    np.testing.assert_array_equal(parts.class_count_, whole.class_count_)
    np.testing.assert_allclose(parts.theta_, whole.theta_, atol=1e-13)
    np.testing.assert_allclose(parts.var_, whole.var_, atol=1e-12)


def test_a_far_offset_loses_no_digits_in_parts() -> None:
    x, y = samples()
    whole = exact().fit(x + 1e6, y)
    parts = exact()
    for start in range(0, 300, 10):
        parts.partial_fit(x[start : start + 10] + 1e6, y[start : start + 10])
    np.testing.assert_allclose(parts.var_, whole.var_, rtol=1e-8)


@pytest.mark.parametrize("priors", ["empirical", "uniform"])
@pytest.mark.parametrize("shared", [True, False])
def test_classes_named_ahead_but_not_seen_are_never_predicted(priors: str, shared: bool) -> None:
    x, y = samples()
    model = exact(priors=priors, shared_variance=shared).partial_fit(x[y < 2], y[y < 2], classes=range(4))
    assert set(model.predict(x)) <= {0, 1}
    np.testing.assert_allclose(model.predict_proba(x).sum(1), 1)
    if shared:
        with pytest.raises(DataError, match="no samples yet"):
            model.as_linear()
    model.partial_fit(x[y >= 2], y[y >= 2])
    np.testing.assert_allclose(model.theta_, NaiveBayesProbe().fit(x, y).theta_)


def test_fit_forgets_what_was_learnt_before() -> None:
    x, y = samples()
    model = NaiveBayesProbe().fit(x + 9, y).fit(x, y)
    np.testing.assert_array_equal(model.theta_, NaiveBayesProbe().fit(x, y).theta_)


def test_equal_priors_and_unit_variances_give_the_nearest_centroid() -> None:
    x, y = samples()
    model = exact(priors="uniform").fit(x, y)
    model.var_ = np.ones_like(model.var_)
    np.testing.assert_array_equal(model.predict(x), NearestCentroid().fit(x, y).predict(x))


def test_one_feature_splits_midway_between_the_means() -> None:
    x = np.array([[0.0], [2.0], [6.0], [8.0]])
    model = exact().fit(x, [0, 0, 1, 1])
    assert model.predict([[3.999], [4.001]]).tolist() == [0, 1]
    np.testing.assert_allclose(model.decision_function([[4.0]]), [0.0], atol=1e-12)


def test_affine_changes_of_features_change_no_prediction() -> None:
    x, y = samples()
    scale, shift = np.array([3.0, -2.0, 0.01, 50.0, -0.3, 1.0]), np.linspace(-5, 5, 6)
    one, two = exact().fit(x, y), exact().fit(x * scale + shift, y)
    np.testing.assert_array_equal(one.predict(x), two.predict(x * scale + shift))
    difference = one.predict_log_proba(x) - two.predict_log_proba(x * scale + shift)
    np.testing.assert_allclose(difference, 0, atol=1e-8)


def test_order_of_features_and_of_rows_and_copies_of_all_rows_change_nothing() -> None:
    x, y = samples()
    plain = exact().fit(x, y).scores(x)
    turned = np.random.default_rng(0).permutation(6)
    np.testing.assert_allclose(exact().fit(x[:, turned], y).scores(x[:, turned]), plain, atol=1e-10)
    rows = np.random.default_rng(0).permutation(300)
    np.testing.assert_allclose(exact().fit(x[rows], y[rows]).scores(x), plain, atol=1e-10)
    np.testing.assert_allclose(exact().fit(np.tile(x, (2, 1)), np.tile(y, 2)).scores(x), plain, atol=1e-10)


def test_doubling_a_class_adds_the_log_of_its_prior_ratio() -> None:
    x, y = samples()
    plain, doubled = exact().fit(x, y), exact().fit(x, y)
    doubled.class_count_ = plain.class_count_ * np.array([1, 1, 2, 1])
    shift = doubled.predict_log_proba(x) - plain.predict_log_proba(x)
    np.testing.assert_allclose(shift[:, 2] - shift[:, 0], np.log(2), atol=1e-9)
    # By real copies of the rows the pooled variance moves too; with equal class variances it does not.
    one = np.array([[0.0], [2.0], [5.0], [7.0]])
    first = exact().fit(one, [0, 0, 1, 1]).decision_function(one)
    second = exact().fit(np.vstack([one, one[2:]]), [0, 0, 1, 1, 1, 1]).decision_function(one)
    np.testing.assert_allclose(second - first, np.log(2), atol=1e-12)


class DiagonalPooled(BaseEstimator):
    """The diagonal of a class's biased covariance; LDA pools them by priors."""

    def fit(self, x: np.ndarray, y: None = None) -> "DiagonalPooled":
        self.location_, self.covariance_ = x.mean(0), np.diag(x.var(0))
        return self


def test_equals_lda_with_a_diagonal_covariance() -> None:
    x, y = samples()
    peer = LinearDiscriminantAnalysis(solver="lsqr", covariance_estimator=DiagonalPooled()).fit(x, y)
    model = exact().fit(x, y)
    np.testing.assert_array_equal(model.predict(x), peer.predict(x))
    np.testing.assert_allclose(model.predict_proba(x), peer.predict_proba(x), atol=1e-9)


def test_own_variances_equal_gaussian_nb() -> None:
    x, y = samples()
    peer = GaussianNB(var_smoothing=0.0).fit(x, y)
    model = exact(shared_variance=False).fit(x, y)
    np.testing.assert_allclose(model.var_, peer.var_, rtol=1e-12)
    np.testing.assert_allclose(model.scores(x), peer.predict_joint_log_proba(x), atol=1e-9)
    with pytest.raises(ConfigError, match="shared_variance=True"):
        model.as_linear()


def test_true_parameters_give_the_bayes_error() -> None:
    width, count = 4, 200_000
    x, y = gaussian_classes(count, classes=2, width=width, seed=3)
    model = exact().fit(x[:100], y[:100])
    model.class_count_ = np.array([1.0, 1.0])
    model.theta_ = simulated_means(2)[:, None].repeat(width, 1)
    model.var_ = simulated_variance(width)
    delta = np.sqrt((np.diff(model.theta_, axis=0) ** 2 / model.var_).sum())
    expected = norm.cdf(-delta / 2)
    assert abs((model.predict(x) != y).mean() - expected) < 4 * np.sqrt(expected / count)


def test_the_variance_floor_is_a_share_of_the_mean_variance() -> None:
    x, y = samples()
    x[:, 0] = 1.0
    plain = NaiveBayesProbe(var_floor=0.0).fit(x, y)
    assert plain.var_[0] == 1e-9
    floored = NaiveBayesProbe(var_floor=0.25).fit(x, y)
    np.testing.assert_allclose(floored.var_, np.maximum(plain.var_, 0.25 * (plain.var_ - 1e-9).mean()))
    # 0.25 lifts several features' variances to the floor exactly, and leaves the others as they are.
    floor = 0.25 * (plain.var_ - 1e-9).mean()
    assert (floored.var_ == floored.var_.min()).sum() >= 1
    np.testing.assert_allclose(floored.var_.min(), floor)
    each = NaiveBayesProbe(var_floor=0.25, shared_variance=False).fit(x, y)
    alone = NaiveBayesProbe(var_floor=0.0, eps=0.0, shared_variance=False)
    alone.partial_fit(x, y)
    for found, variance in zip(each.var_, alone.var_, strict=True):  # each class has a floor of its own
        np.testing.assert_allclose(found, np.maximum(variance + 1e-9, 0.25 * variance.mean()))
    with pytest.raises(DataError, match="1 features do not vary"):
        exact().fit(x, y)
    with pytest.raises(DataError, match="1 features do not vary"):
        exact().partial_fit(x, y).predict(x)


def test_wrong_settings_are_refused() -> None:
    x, y = samples()
    with pytest.raises(ConfigError, match="'uniform'"):
        NaiveBayesProbe(priors="unifrom").fit(x, y)
    with pytest.raises(ConfigError, match="at least 0"):
        NaiveBayesProbe(-1.0).fit(x, y)
