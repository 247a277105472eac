"""What is printed of results is short, and says what they are."""

from pathlib import Path

import torch

from withstand.api.runs import Run
from withstand.core.findings.finding import Check, Finding, Measure
from withstand.evaluation.features import Features


def test_a_figure() -> None:
    control = Measure(0.25, "share", "higher")
    assert str(Measure(0.5, "share", "higher", interval=(0.4, 0.6), control=control)) == (
        "0.5000 [0.4000, 0.6000], untrained 0.2500"
    )
    assert str(Measure(1234.0, "count", None, spread=0.5)) == "1,234 ± 0.5000"


def test_a_finding() -> None:
    figures = {name: Measure(float(place), "share", "higher") for place, name in enumerate("abcde")}
    finding = Finding("knn", figures, checks=(Check("steady", False, "it moved"),))
    assert repr(finding) == "<Finding knn: a 0.0000, b 1.0000, c 2.0000, 2 more>"
    assert str(finding).splitlines() == [
        "knn",
        *(f"  {name}  {figure}" for name, figure in figures.items()),
        "  [FAILED] steady: it moved",
    ]
    assert repr(Finding("knn", figures, headline="b")) == "<Finding knn: b 1.0000>"
    assert repr(Finding("map")) == "<Finding map>"


def test_features() -> None:
    found = Features(
        torch.zeros(3, 4), torch.tensor([0, 1, 0]), torch.arange(3), ("cat", "dog"), parts=("train", "test", "train")
    )
    assert repr(found) == "<Features 3 x 4, 2 train, 1 test, 2 classes>"
    assert repr(Features(torch.zeros(3, 4), None, torch.arange(3))) == "<Features 3 x 4>"


def test_a_run_that_is_none(tmp_path: Path) -> None:
    assert repr(Run(tmp_path / "none")) == f"<Run {tmp_path / 'none'}: there is none>"
