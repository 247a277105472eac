import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from withstand.core.errors import ConfigError, DataError
from withstand.evaluation.features import Features
from withstand.evaluation.probes.linear import LogisticProbe, fit_linear


def features(count: int = 400, classes: int = 4, width: int = 10, seed: int = 0) -> Features:
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(count) % classes
    centers = torch.randn(classes, width, generator=torch.Generator().manual_seed(5))
    x = 3 + (centers[y] + torch.randn(count, width, generator=generator)) * torch.arange(1, width + 1)
    return Features(x, y, torch.arange(count))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_logistic_probe_is_a_scikit_learn_estimator() -> None:
    check_estimator(LogisticProbe())


@pytest.mark.parametrize("classes", [2, 4])
def test_equals_scikit_learn_on_standardized_features(classes: int) -> None:
    train, test = features(classes=classes), features(classes=classes, seed=1)
    probe = fit_linear(train, C=0.1, tol=1e-8)
    peer = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=5000, tol=1e-8))
    peer.fit(train.x.double().numpy(), train.labels.numpy())
    np.testing.assert_array_equal(probe.predict(test.x), peer.predict(test.x.double().numpy()))
    scores = probe.as_linear()(test.x).softmax(1).detach()
    np.testing.assert_allclose(scores, peer.predict_proba(test.x.double().numpy()), atol=1e-4)


def test_as_linear_predicts_alike_and_leaves_the_global_generator_alone() -> None:
    train, test = features(), features(seed=2)
    probe = fit_linear(train)
    state = torch.get_rng_state()
    layer = probe.as_linear()
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(layer(test.x).argmax(1), probe.predict(test.x))


def test_choice_is_on_train_the_smallest_of_the_best_and_refitted_on_all() -> None:
    train = features()
    probe = fit_linear(train, C=(10.0, 1e-3, 0.1))
    assert [value for value, _ in probe.tried] == [1e-3, 0.1, 10.0]
    best = max(accuracy for _, accuracy in probe.tried)
    assert min(value for value, accuracy in probe.tried if accuracy == best) == probe.model.C
    alone = fit_linear(train, C=probe.model.C)
    np.testing.assert_allclose(probe.model.coef_, alone.model.coef_)
    np.testing.assert_allclose(probe.mean, train.x.double().mean(0), rtol=1e-12)


def test_the_order_of_samples_does_not_matter() -> None:
    train, test = features(), features(seed=1)
    shuffled = train[torch.randperm(len(train), generator=torch.Generator().manual_seed(3))]
    one, two = fit_linear(train, tol=1e-8), fit_linear(shuffled, tol=1e-8)
    assert one.tried == two.tried
    np.testing.assert_allclose(one.model.coef_, two.model.coef_, atol=1e-5)
    assert torch.equal(one.predict(test.x), two.predict(test.x))


def test_affine_changes_of_features_change_no_prediction() -> None:
    train, test = features(), features(seed=1)
    scale, shift = torch.linspace(0.1, 50, 10), torch.linspace(-9, 9, 10)
    moved = Features(train.x * scale + shift, train.y, train.index)
    one, two = fit_linear(train, C=0.1, tol=1e-8), fit_linear(moved, C=0.1, tol=1e-8)
    agree = one.predict(test.x) == two.predict(test.x * scale + shift)
    assert agree.float().mean() > 0.99


def test_a_constant_feature_is_harmless() -> None:
    train = features()
    x = torch.cat([train.x, torch.full((len(train), 1), 0.1)], dim=1)
    layer = fit_linear(Features(x, train.y, train.index), C=1.0).as_linear()
    assert torch.isfinite(layer.weight).all()
    assert layer.weight[:, -1].abs().max() < 1e-9


def test_not_converging_is_said() -> None:
    assert fit_linear(features(), C=1.0).model.converged_
    assert not fit_linear(features(), C=1.0, max_iter=2).model.converged_


def test_wrong_settings_are_refused() -> None:
    train = features()
    for bad in (0.0, (), (1.0, -1.0)):
        with pytest.raises(ConfigError, match="C must be positive"):
            fit_linear(train, C=bad)
    with pytest.raises(DataError, match="two classes"):
        fit_linear(train[train.labels == 1])
    with pytest.raises(DataError, match="label more"):
        fit_linear(train[torch.arange(4)])
    with pytest.raises(DataError, match="lacks some"):
        fit_linear(train[train.labels != 1], C=1.0).as_linear()
