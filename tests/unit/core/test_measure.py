"""Measures: whole through JSON, strict about what they are, and read out of findings of earlier versions."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from withstand.core.findings.finding import Finding, Measure, Table

SAVED = Path(__file__).parents[2] / "saved" / "run" / "findings"

numbers = st.floats(allow_nan=False)
ends = st.tuples(numbers, numbers).map(lambda pair: (min(pair), max(pair)))


def measures(control: st.SearchStrategy[Measure | None]) -> st.SearchStrategy[Measure]:
    return st.builds(
        Measure,
        numbers,
        st.sampled_from(["share", "seconds", "radius", "nats", ""]),
        st.sampled_from(["higher", "lower", None]),
        spread=st.none() | st.floats(0, 1e9),
        interval=st.none() | ends,
        of=st.none() | st.integers(1, 10**9),
        control=control,
        gain=st.none() | ends,
        chance=st.none() | numbers,
    )


@given(st.dictionaries(st.text(min_size=1), measures(st.none() | measures(st.none())), min_size=1))
def test_measures_survive_json(figures: dict[str, Measure]) -> None:
    finding = Finding("knn", figures, headline=next(iter(figures)))
    through = {name: Measure.of_record(json.loads(json.dumps(one.record()))) for name, one in figures.items()}
    assert through == finding.figures == figures


def test_not_a_number_survives_a_file(tmp_path: Path) -> None:
    (found,) = Finding.load(Finding("knn", {"a": Measure(math.nan, "ratio", None)}).save(tmp_path)).figures.values()
    assert math.isnan(found.value)


@pytest.mark.parametrize(
    "record",
    [
        {"value": 0.5},
        {"unit": "share"},
        {"value": "0.5", "unit": "share"},
        {"value": True, "unit": "share"},
        {"value": 0.5, "unit": "share", "better": "up"},
        {"value": 0.5, "unit": "share", "interval": [0.4]},
        {"value": 0.5, "unit": "share", "interval": [0.6, 0.4]},
        {"value": 0.5, "unit": "share", "spread": -1.0},
        {"value": 0.5, "unit": "share", "of": 0.5},
        {"value": 0.5, "unit": "share", "control": 0.1},
        {"value": 0.5, "unit": "share", "colour": "red"},
    ],
)
def test_what_is_no_measure_is_refused(record: dict) -> None:
    with pytest.raises((ValueError, KeyError)):
        Measure.of_record(record)


def test_a_headline_is_one_of_the_figures() -> None:
    with pytest.raises(ValueError, match="the headline 'b' is none of the figures a"):
        Finding("knn", {"a": Measure(0.5, "share", "higher")}, headline="b")


def test_a_plain_number_is_no_figure() -> None:
    with pytest.raises(TypeError, match="figure 'a' is a float, not a Measure"):
        Finding("knn", {"a": 0.5})  # type: ignore[dict-item]


def test_units_and_controls_are_of_columns() -> None:
    for wrong in ({"units": {"b": "share"}}, {"controls": {"b": "a"}}, {"controls": {"a": "b"}}):
        with pytest.raises(ValueError, match="'b', of units or controls, is none of the columns"):
            Table(("a",), (), **wrong)


def test_a_probe_of_an_earlier_version_is_read() -> None:
    finding = Finding.load(SAVED / "knn.json")
    stored = json.loads((SAVED / "knn.json").read_text())
    accuracy = finding.figures[finding.headline or ""]
    assert accuracy.value == stored["numbers"]["accuracy"]
    assert (accuracy.unit, accuracy.better) == ("share", "higher")
    rows = {name: numbers for name, *numbers in stored["tables"]["accuracy"]["rows"]}
    assert [accuracy.value, *(accuracy.interval or ())] == rows["encoder"]
    assert accuracy.control is not None
    assert [accuracy.control.value, *(accuracy.control.interval or ())] == rows["untrained control"]
    assert list(accuracy.gain or ()) == rows["encoder less control"][1:]
    assert accuracy.chance == rows["always the most frequent class"][0]


def test_an_audit_of_an_earlier_version_is_read() -> None:
    finding = Finding.load(SAVED / "audit.json")
    assert finding.headline == "robust accuracy, linf 8/255"
    robust = finding.figures[finding.headline]
    assert robust.interval == (0.0, pytest.approx(0.1622, abs=1e-4))
    told = finding.protocol["headline"]
    assert isinstance(told, dict)
    assert (told["number"], told["against"]) == (finding.headline, "clean accuracy")
    table = finding.tables["accuracy against eps, linf"]
    assert table.units == {"eps": "k/255", **dict.fromkeys(table.columns[2:], "share")}
    assert table.controls == {"accuracy under noise": "robust accuracy"}


def test_what_was_no_share_is_none_today() -> None:
    finding = Finding.load(SAVED / "gauges.json")
    assert {name: one.unit for name, one in finding.figures.items()} == dict.fromkeys(finding.figures, "")
    assert all(one.control is not None for one in finding.figures.values())


def test_findings_of_earlier_versions_are_saved_in_todays_form(tmp_path: Path) -> None:
    for path in SAVED.glob("*.json"):
        finding = Finding.load(path)
        again = Finding.load(finding.save(tmp_path))
        assert (again.figures, again.tables, again.headline) == (finding.figures, finding.tables, finding.headline)
        assert "numbers" not in json.loads((tmp_path / path.name).read_text())


def older(name: str, numbers: dict[str, float], tables: dict | None = None) -> Finding:
    """Return a finding as earlier versions wrote it."""
    return Finding.of_record({"name": name, "numbers": numbers, "tables": tables or {}, "checks": [], "protocol": {}})


def test_a_spread_over_repeats_stays_one_and_the_control_keeps_its_own() -> None:
    names = ("accuracy", "accuracy ±", "accuracy, untrained control", "accuracy, untrained control ±")
    (accuracy,) = older("graphs", dict(zip(names, (0.9, 0.02, 0.5, 0.03), strict=True))).figures.values()
    control = Measure(0.5, "share", "higher", spread=0.03)
    assert accuracy == Measure(0.9, "share", "higher", spread=0.02, control=control)


def test_half_the_width_of_an_interval_becomes_one() -> None:
    for name in ("knn", "knn, on other"):
        (accuracy,) = older(name, {"accuracy": 0.98, "accuracy ±": 0.05}).figures.values()
        assert accuracy.interval == pytest.approx((0.93, 1.0))
        assert accuracy.spread is None


def test_what_stood_beside_an_untrained_encoder_or_another_part_of_a_name_is_its_control() -> None:
    found = older("table-heads", {"RMSE, mlp on features": 0.5, "RMSE, mlp on untrained features": 0.7})
    assert found.figures == {"RMSE, mlp on features": Measure(0.5, "", "lower", control=Measure(0.7, "", "lower"))}
    found = older("few-shot", {"knn, 10 labels a class": 0.6, "knn, untrained control, 10 labels a class": 0.5})
    (shot,) = found.figures.values()
    assert (shot.unit, shot.control) == ("share", Measure(0.5, "share", None))


def test_columns_of_earlier_versions_have_units_and_controls() -> None:
    columns = ["eps", "k/255", "shift under attack", "shift under noise", "share lost under attack"]
    table = {"columns": columns, "rows": [[0.1, "25.5/255", 0.5, 0.1, 0.9]], "x": "eps"}
    found = older("audit", {"mean cosine shift": 0.5}, {"shift against eps": table}).tables["shift against eps"]
    assert found.units == {"eps": "k/255", "share lost under attack": "share"}
    assert found.controls == {"shift under noise": "shift under attack"}
