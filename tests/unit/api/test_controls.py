"""A control is called what it is: untrained, or with the weights that it came with."""

import pytest

from withstand.api.runs import Run
from withstand.core.findings.finding import Finding, Measure, Table
from withstand.models.pictures.convnets.resnet import ResNet

FOUND = Finding(
    "knn",
    figures={"accuracy": Measure(0.8, "share", "higher", control=Measure(0.7, "share", "higher"))},
    tables={
        "classes": Table(
            ("class", "encoder", "untrained control"),
            (("cat", 0.8, 0.7),),
            units={"encoder": "share", "untrained control": "share"},
            controls={"untrained control": "encoder"},
        )
    },
)


def test_a_network_that_begins_with_published_weights_has_no_untrained_control(
    photos_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = photos_run._keep(FOUND, None, photos_run.source)
    assert str(plain).splitlines()[1].endswith("accuracy  0.8000, untrained 0.7000")
    monkeypatch.setattr(ResNet, "begins_with", "published weights")
    kept = photos_run._keep(FOUND, None, photos_run.source)
    assert str(kept).splitlines()[1].endswith("accuracy  0.8000, before training 0.7000")
    assert kept.tables["classes"].columns == ("class", "encoder", "before training")
    assert kept.tables["classes"].controls == {"before training": "encoder"}
    assert Finding.of_record(kept.record()) == kept


def test_a_control_that_says_what_it_is_keeps_its_name() -> None:
    tuned = Measure(0.8, "share", "higher", control=Measure(0.7, "share", "higher", called="before tuning"))
    found = Finding("refusals", figures={"refused": tuned}).with_control("before training")
    assert found.figures["refused"] == tuned
    assert Measure.of_record(tuned.record()) == tuned
    assert str(tuned) == "0.8000, before tuning 0.7000"
