import math
import warnings

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestCentroid
from torch import Tensor, nn
from torch.nn.functional import normalize

from withstand.core.errors import ConfigError, DataError
from withstand.core.part import build, describe
from withstand.core.roles import Source
from withstand.data.arrays.source import ArraySource
from withstand.evaluation.features import Features
from withstand.evaluation.probes.centroid import centroids, nearest_centroid
from withstand.evaluation.probes.few_shot import FewShot
from withstand.evaluation.probes.named import DEFAULT, KNN, Centroid, Linear, Map, NaiveBayes, probe
from withstand.evaluation.probes.probe import CONTROL, Embedded, embed_all
from withstand.evaluation.representation.gauges import Gauges
from withstand.evaluation.statistics.intervals import Share, paired_difference, wilson

LABEL_PROBES = (KNN(), Linear(), NaiveBayes(), Centroid())
QUICK = (*LABEL_PROBES, FewShot((KNN(), NaiveBayes()), labels=(1, 5), draws=2), Gauges(), Map(layout="pca"))


def source(count: int = 240, seed: int = 0, labelled: bool = True, classes: tuple[str, ...] = ()) -> ArraySource:
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(count) % 3
    bright = torch.rand(3, 1, 6, 6, generator=torch.Generator().manual_seed(7))
    x = 120 * bright[y] + 130 * torch.rand(count, 1, 6, 6, generator=generator)
    return ArraySource(x.to(torch.uint8), y if labelled else None, classes=classes)


def embedded(train: Source, test: Source) -> Embedded:
    return embed_all(nn.Flatten(), train, test)


@pytest.mark.parametrize("part", DEFAULT, ids=lambda part: type(part).__name__)
def test_probes_are_parts(part: KNN) -> None:
    assert build(describe(part)) == part


def test_each_sample_is_embedded_once_for_all_probes() -> None:
    seen = 0

    def count(x: Tensor) -> Tensor:
        nonlocal seen
        seen += len(x)
        return x.flatten(1)

    findings = probe(count, source(), source(90, 1), probes=QUICK, batch=50)
    assert seen == 330
    assert [finding.name for finding in findings] == [
        "knn", "linear", "naive-bayes", "centroid", "few-shot", "gauges", "map"
    ]  # fmt: skip
    assert all(finding.believable for finding in findings)


@pytest.mark.parametrize("part", LABEL_PROBES, ids=lambda part: part.name)
def test_accuracy_stands_beside_its_interval_its_classes_and_the_control(part: KNN) -> None:
    control = nn.Sequential(nn.Flatten(), nn.Linear(36, 1))
    finding = part.evaluate(nn.Flatten(), source(classes=("a", "b", "c")), test=source(90, 1), control=control)
    assert finding.headline == "accuracy"
    accuracy = finding.figures["accuracy"]
    assert accuracy.control is not None
    assert accuracy.value > accuracy.control.value
    assert accuracy.chance == pytest.approx(1 / 3)
    gain = accuracy.value - accuracy.control.value
    for value, ends in ((accuracy.value, accuracy.interval), (gain, accuracy.gain)):
        assert ends is not None
        assert ends[0] <= value <= ends[1]
    assert accuracy.control.interval == Share(round(90 * accuracy.control.value), 90).interval
    classes = finding.tables["classes"]
    assert classes.column("samples") == (30, 30, 30)
    assert sum(classes.column("encoder")) / 3 == pytest.approx(accuracy.value)
    assert finding.protocol["train"]["samples"] == 240
    assert finding.protocol["probe"]["init_args"].keys() == describe(part)["init_args"].keys()


@pytest.mark.parametrize("part", [*LABEL_PROBES, QUICK[4]], ids=lambda part: type(part).__name__)
def test_test_labels_change_no_choice(part: KNN) -> None:
    one = embedded(source(), source(90, 1))
    shuffled = one.test.labels[torch.randperm(90, generator=torch.Generator().manual_seed(0))]
    two = Embedded(
        one.subject, one.source, one.train, one.test_source,
        Features(one.test.x, shuffled, one.test.index), one.split,
    )  # fmt: skip
    first, second = part.measure(one).protocol, part.measure(two).protocol
    assert first.pop("test") != second.pop("test")
    assert first == second


@pytest.mark.parametrize("part", LABEL_PROBES, ids=lambda part: part.name)
def test_the_order_of_samples_does_not_matter(part: KNN) -> None:
    one = embedded(source(), source(90, 1))
    rows = torch.randperm(240, generator=torch.Generator().manual_seed(1))
    shuffled = one.train[rows]
    assert torch.equal(part.fit(one.train).predict(one.test.x), part.fit(shuffled).predict(one.test.x))


def test_without_a_test_set_a_part_of_each_class_is_held_out() -> None:
    found = embed_all(nn.Flatten(), source())
    assert (len(found.train), len(found.test)) == (192, 48)
    assert torch.bincount(found.test.labels).tolist() == [16, 16, 16]
    assert not set(found.train.index.tolist()) & set(found.test.index.tolist())
    assert "held out" in found.protocol()["split"]


def test_without_labels_only_gauges_and_the_map_run() -> None:
    control = nn.Sequential(nn.Flatten(), nn.Linear(36, 8))
    findings = probe(nn.Flatten(), source(60, labelled=False), control=control)
    assert [finding.name for finding in findings] == ["gauges", "map"]
    assert findings[0].protocol["train"]["samples"] == 60
    assert set(findings[1].tables["map"].column("label")) == {None}
    with pytest.raises(DataError, match="KNN, Linear need labels"):
        probe(nn.Flatten(), source(60, labelled=False), probes=(KNN(), Linear(), Gauges()))
    with pytest.raises(DataError, match="needs labels"):
        KNN().evaluate(nn.Flatten(), source(60, labelled=False))


def test_classes_missing_in_train_count_as_errors() -> None:
    full = embedded(source(), source(90, 1))
    part = full.train[full.train.labels != 2]
    reduced = Embedded(full.subject, full.source, part, full.test_source, full.test, "test set given")
    for each in LABEL_PROBES:
        assert each.measure(reduced).numbers["accuracy"] <= 2 / 3


def test_subjects_of_unlike_width_are_refused() -> None:
    def ragged(x: Tensor) -> Tensor:
        return x.flatten(1)[:, : 30 if len(x) == 90 else 36]

    with pytest.raises(DataError, match="36 wide and test features 30"):
        embed_all(ragged, source(), source(90, 1))


def test_an_unconverged_linear_probe_is_not_believable() -> None:
    finding = Linear(C=1.0, max_iter=2).measure(embedded(source(), source(90, 1)))
    assert not finding.believable
    assert "2 of at most 2" in finding.checks[0].detail


def test_few_shot_curve_is_balanced_and_leaves_out_what_is_lacking() -> None:
    control = embed_all(nn.Sequential(nn.Flatten(), nn.Linear(36, 2)), source(), source(90, 1))
    part = FewShot((KNN(), NaiveBayes()), labels=(5, 1, 500, 80), draws=3)
    finding = part.measure(embedded(source(), source(90, 1)), control)
    table = finding.tables["curve"]
    assert table.column("labels a class") == (1, 5, 80)
    assert table.x == "labels a class"
    assert {"knn", "knn ±", "naive-bayes", f"knn, {CONTROL}", f"knn, {CONTROL} ±"} <= set(table.columns)
    assert finding.numbers["knn, 5 labels a class"] == table.column("knn")[1]
    # All of a class of 80 is one and the same draw.
    assert table.column("knn ±")[2] == 0
    with pytest.raises(ConfigError, match="fewer than"):
        FewShot((KNN(),), labels=(100,)).measure(embedded(source(), source(90, 1)))
    with pytest.raises(ConfigError, match="2 draws"):
        FewShot((KNN(),), draws=1)


def test_few_labels_of_many_classes_are_not_called_numbers() -> None:
    pictures = torch.rand(300, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    many = ArraySource(pictures, torch.arange(300) % 30)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FewShot((Linear(), NaiveBayes()), labels=(1,), draws=2).measure(embedded(many, many))


def test_euclidean_centroid_equals_scikit_learns() -> None:
    one = embedded(source(), source(90, 1))
    peer = NearestCentroid().fit(one.train.x.numpy(), one.train.labels.numpy())
    found = nearest_centroid(one.test.x, *centroids(one.train, cosine=False), cosine=False)
    np.testing.assert_array_equal(found, peer.predict(one.test.x.numpy()))


def test_cosine_centroid_ignores_lengths() -> None:
    one = embedded(source(), source(90, 1))
    scaled = Features(one.train.x * (1 + torch.rand(240, 1)), one.train.y, one.train.index)
    torch.testing.assert_close(centroids(scaled)[0], centroids(one.train)[0], atol=1e-6, rtol=0)
    expected = torch.stack([normalize(one.train.x[one.train.labels == k].double(), dim=1).mean(0) for k in range(3)])
    torch.testing.assert_close(centroids(one.train)[0], expected)


def test_wilson_interval_at_its_ends_and_against_its_equation() -> None:
    assert wilson(0, 10)[0] == 0
    assert wilson(10, 10)[1] == 1
    for hits, count in ((1, 10), (37, 50), (900, 1000)):
        for bound in wilson(hits, count):
            distance = abs(hits / count - bound) / math.sqrt(bound * (1 - bound) / count)
            assert distance == pytest.approx(1.959964, abs=1e-5)


def test_paired_difference_is_narrower_than_two_intervals() -> None:
    first = torch.rand(1000, generator=torch.Generator().manual_seed(0)) < 0.8
    second = first.clone()
    second[:20] = False
    mean, low, high = paired_difference(first, second)
    assert mean == pytest.approx(float(first[:20].double().mean()) * 0.02)
    assert high - low < (wilson(800, 1000)[1] - wilson(800, 1000)[0]) / 2


def test_paired_difference_stays_inside_and_holds_as_often_as_it_says() -> None:
    yes, no = torch.ones(5, dtype=torch.bool), torch.zeros(5, dtype=torch.bool)
    assert paired_difference(yes, no)[2] == 1
    assert paired_difference(no, yes)[1] == -1
    nothing, low, high = paired_difference(yes, yes)
    assert nothing == 0 > low == pytest.approx(-high)  # five equal answers do not show that two are the same
    generator = torch.Generator().manual_seed(0)
    held = 0
    for _ in range(400):  # both right in 0.6, only the first in 0.25, only the other in 0.1
        place = torch.multinomial(torch.tensor([0.6, 0.25, 0.1, 0.05]), 40, replacement=True, generator=generator)
        _, low, high = paired_difference(place <= 1, (place == 0) | (place == 2))
        held += low <= 0.15 <= high
    assert 0.92 < held / 400 < 0.99
