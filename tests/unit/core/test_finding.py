"""Findings: saved whole, read back alike, damage told."""

import json
from pathlib import Path

import numpy as np
import pytest

from withstand.core.errors import DataError
from withstand.core.findings.finding import Check, Finding, Measure, Table


def full() -> Finding:
    return Finding(
        "audit",
        {
            "accuracy": Measure(
                0.5, "share", "higher", interval=(0.4, 0.6), of=96, control=Measure(0.1, "share", "higher")
            ),
            "radius": Measure(float("inf"), "radius", "higher"),
        },
        {
            "curve": Table(
                ("eps", "accuracy", "accuracy ±"),
                ((0.0, 0.9, 0.01), (0.1, None, 0.0)),
                x="eps",
                units={"eps": "radius", "accuracy": "share"},
            )
        },
        (Check("zero gradients", True, "none"), Check("more steps", None, "not run")),
        {"seed": 0, "attacks": ["pgd"], "deep": {"steps": [1, 2]}},
        {"clean": np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)},
        headline="accuracy",
    )


def test_round_trip(tmp_path: Path) -> None:
    finding = full()
    path = finding.save(tmp_path / "findings")
    assert path == tmp_path / "findings" / "audit.json"
    loaded = Finding.load(path)
    assert loaded.figures == finding.figures
    assert loaded.headline == finding.headline
    assert loaded.tables == finding.tables
    assert loaded.checks == finding.checks
    assert loaded.protocol == finding.protocol
    assert loaded.pictures.keys() == {"clean"}
    assert np.array_equal(loaded.pictures["clean"], finding.pictures["clean"])
    assert loaded.pictures["clean"].dtype == np.uint8
    assert {item.name for item in path.parent.iterdir()} == {"audit.json", "audit.npz"}


def test_a_finding_without_pictures_takes_away_an_earlier_ones(tmp_path: Path) -> None:
    full().save(tmp_path)
    path = Finding("audit").save(tmp_path)
    assert Finding.load(path).pictures == {}
    assert [item.name for item in tmp_path.iterdir()] == ["audit.json"]


@pytest.mark.parametrize("passed", [(True, True), (True, None), (None, None), ()])
def test_believable(passed: tuple[bool | None, ...]) -> None:
    checks = tuple(Check(str(place), value, "") for place, value in enumerate(passed))
    assert Finding("a", checks=checks).believable
    assert not Finding("a", checks=(*checks, Check("bad", False, ""))).believable


@pytest.mark.parametrize("content", ["{", "[]", "{}", "3", '{"name": 1}', '{"name": "a", "checks": [], "tables": []}'])
def test_what_is_no_finding_is_told(content: str, tmp_path: Path) -> None:
    path = tmp_path / "knn.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"knn\.json is not a finding"):
        Finding.load(path)


def test_unknown_entries_are_told(tmp_path: Path) -> None:
    path = Finding("knn").save(tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"extra": 1}))
    with pytest.raises(DataError, match="extra"):
        Finding.load(path)


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 and no more", b"not a zip"])
def test_damaged_pictures_are_told(damage: bytes, tmp_path: Path) -> None:
    path = full().save(tmp_path)
    path.with_suffix(".npz").write_bytes(damage)
    with pytest.raises(DataError, match="is not a finding"):
        Finding.load(path)


def test_tables() -> None:
    table = Table(("eps", "accuracy"), ((0.0, 0.9), (0.1, 0.5)), x="eps")
    assert table.column("accuracy") == (0.9, 0.5)
    with pytest.raises(ValueError, match=r"row \(1,\) does not fit the columns"):
        Table(("a", "b"), ((1,),))
    with pytest.raises(ValueError, match="x 'c' is none of the columns"):
        Table(("a", "b"), (), x="c")
