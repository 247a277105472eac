import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from withstand.core.errors import ConfigError
from withstand.evaluation.probes.learning_curve import crossing, draw_complete, probe_curve, samples_to_reach
from withstand.evaluation.probes.naive_bayes import NaiveBayesProbe
from withstand.evaluation.probes.naive_bayes_theory import gaussian_classes


def test_draws_hold_every_class_and_repeat() -> None:
    labels = np.arange(60) % 6
    for seed in range(20):
        drawn = draw_complete(labels, 10, seed)
        assert len(set(drawn)) == 10
        assert set(labels[drawn]) == set(range(6))
        np.testing.assert_array_equal(drawn, draw_complete(labels, 10, seed))
    with pytest.raises(ConfigError, match="more samples"):
        draw_complete(labels, 5, 0)


def test_crossing_is_interpolated_over_log_size() -> None:
    sizes = [10, 100, 1000]
    assert crossing(sizes, [0.5, 0.6, 0.6], [0.4, 0.7, 0.8]) == pytest.approx(10**1.5)
    assert crossing(sizes, [0.5, 0.6, 0.9], [0.4, 0.7, 0.8]) is None
    assert crossing(sizes, [0.3, 0.6, 0.7], [0.4, 0.7, 0.8]) is None
    # Ahead, behind, ahead again: the last overtaking counts.
    assert crossing(sizes, [0.3, 0.8, 0.7], [0.4, 0.7, 0.8]) == pytest.approx(10**2.5)


def test_samples_to_reach() -> None:
    assert samples_to_reach([1, 2, 3], [0.1, 0.5, 0.9], 0.5) == 2
    assert samples_to_reach([1, 2, 3], [0.1, 0.5, 0.9], 0.95) is None


def test_few_labels_favor_naive_bayes_in_the_simulation() -> None:
    x, y = gaussian_classes(4000, seed=0)
    test = gaussian_classes(1000, seed=1)
    found = probe_curve(x, y, *test, sizes=(20, 40), scaled=False)
    curve = found.tables["curve"]
    assert curve.x == "labelled samples"
    assert curve.column("labelled samples") == (20, 40)
    for ours, theirs in zip(curve.column("naive Bayes"), curve.column("logistic regression"), strict=True):
        assert ours >= theirs + 0.15
    assert "drawn again until every class" in found.protocol["draws"]


def test_test_labels_change_no_draw_and_probes_share_draws() -> None:
    x, y = gaussian_classes(500, width=10, seed=0)
    test, truth = gaussian_classes(200, width=10, seed=1)
    probes = {"one": NaiveBayesProbe(), "two": NaiveBayesProbe(), "knn": KNeighborsClassifier(1)}
    found = probe_curve(x, y, test, truth, sizes=(30, 100, 900), probes=probes, repeats=3)
    assert found.tables["curve"].column("labelled samples") == (30, 100)
    assert found.tables["curve"].column("one") == found.tables["curve"].column("two")
    wrong = probe_curve(x, y, test, (truth + 1) % 5, sizes=(30, 100), probes=probes, repeats=3)
    right, shifted = (np.array(part.tables["curve"].column("one")) for part in (found, wrong))
    assert (right + shifted <= 1).all()


def test_scaling_uses_the_drawn_rows_alone() -> None:
    x, y = gaussian_classes(300, width=4, seed=0)
    test, truth = gaussian_classes(100, width=4, seed=1)
    plain = probe_curve(x, y, test, truth, sizes=(50,), repeats=2)
    outlier = np.vstack([test, np.full((1, 4), 1e6)])
    other = probe_curve(x, y, outlier, np.append(truth, 0), sizes=(50,), repeats=2)
    for one, two in zip(plain.tables["curve"].rows[0][1::2], other.tables["curve"].rows[0][1::2], strict=True):
        assert two * 101 == pytest.approx(one * 100)


def test_no_fitting_size_is_refused() -> None:
    x, y = gaussian_classes(30, width=4)
    with pytest.raises(ConfigError, match="up to the 30 samples"):
        probe_curve(x, y, x, y, sizes=(50,))
