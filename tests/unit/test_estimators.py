"""The scikit-learn face: its own checks, pipelines, grid search, frames with words."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from withstand.estimators import RobustClassifier, SelfSupervised

pytestmark = pytest.mark.filterwarnings("ignore:the embeddings are collapsing")

NARROW = {"hidden": 8, "layers": 1, "heads": 2, "predictor_hidden": 8, "predictor_heads": 2, "predictor_layers": 1}


@pytest.mark.thorough
@parametrize_with_checks(
    [SelfSupervised(epochs=1, options=NARROW), RobustClassifier(0.01, epochs=16, steps=1, hidden=32)]
)
def test_scikit_learns_own_checks(estimator, check) -> None:  # type: ignore[no-untyped-def]
    check(estimator)


def test_pipeline_and_clone() -> None:
    x, y = load_wine(return_X_y=True)
    pipeline = make_pipeline(SelfSupervised(epochs=2, batch=64, options=NARROW), LogisticRegression(max_iter=2000))
    pipeline.fit(x[::2], y[::2])
    assert pipeline.score(x[1::2], y[1::2]) > 0.8
    features = pipeline[:-1].transform(x[:5])
    assert features.shape == (5, 14 * 8)
    assert list(pipeline[:-1].get_feature_names_out()[:2]) == ["selfsupervised0", "selfsupervised1"]
    again = clone(pipeline).fit(x[::2], y[::2])
    np.testing.assert_array_equal(again[:-1].transform(x[:5]), features)
    with pytest.raises(ValueError, match="'simclr'"):
        SelfSupervised("simcrl").fit(x)
    with pytest.raises(ValueError, match="did you mean 'hidden'"):
        SelfSupervised(options={"hiden": 8}).fit(x)


def test_frames_with_words_and_missing_values() -> None:
    pandas = pytest.importorskip("pandas")
    place = np.arange(40)
    frame = pandas.DataFrame(
        {"n": np.where(place == 3, np.nan, place), "w": np.array(["a", "b"])[place % 2], "m": place % 7}
    )
    encoder = SelfSupervised(epochs=1, options=NARROW).fit(frame)
    strange = frame.iloc[:3].assign(w=["a", "never seen", None])
    assert encoder.transform(strange).shape == (3, 4 * 8)
    assert np.isfinite(encoder.transform(strange)).all()
    assert list(encoder.feature_names_in_) == ["n", "w", "m"]


def test_pictures() -> None:
    x = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 3), dtype=np.uint8)
    encoder = SelfSupervised("simclr", epochs=1, batch=8, options={"width": 4}).fit(x)
    features = encoder.transform(x)
    assert features.shape == (16, encoder.encoder_.width)


def test_grid_search_over_the_radius() -> None:
    x, y = load_wine(return_X_y=True)
    search = GridSearchCV(RobustClassifier(epochs=10, steps=1, hidden=16), {"eps": [0.0, 0.05]}, cv=2)
    search.fit(x, np.array(["one", "two", "three"])[y])
    assert search.score(x, np.array(["one", "two", "three"])[y]) > 0.9
    best = search.best_estimator_
    np.testing.assert_allclose(best.predict_proba(x).sum(1), 1)
    assert best.scaled(x).min() == 0
    assert best.scaled(x).max() == 1
