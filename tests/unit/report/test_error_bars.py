"""Error bars end where intervals end, and no bar of a share leaves 0 to 100 %, in findings old and new."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from withstand.core.findings.finding import Finding, Table
from withstand.evaluation.statistics.intervals import Share, columns, shares
from withstand.report.charts import curves
from withstand.report.findings import view
from withstand.report.scores import score


def older(name: str, numbers: dict[str, float]) -> Finding:
    """Return a finding as earlier versions wrote it."""
    return Finding.of_record({"name": name, "numbers": numbers, "tables": {}, "checks": [], "protocol": {}})


def bars(table: Table) -> list[tuple[float, float, float]]:
    """Return each point of the first curve with the ends of its bar."""
    trace = curves("accuracy", table)[0].figure["data"][0]
    around = trace["error_y"]
    return [
        (y, y - below, y + above)
        for y, below, above in zip(trace["y"], around["arrayminus"], around["array"], strict=True)
    ]


@given(st.lists(st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=1, max_size=5))
def test_bars_end_where_wilson_ends(counts: list[tuple[int, int]]) -> None:
    rows = tuple((place, *Share(*pair).cells) for place, pair in enumerate(counts))
    names = columns("robust accuracy")
    found = bars(Table(("eps", *names), rows, x="eps", units=shares(*names)))
    for (value, low, high), pair in zip(found, counts, strict=True):
        assert (value, low, high) == pytest.approx(Share(*pair).cells)
        assert -1e-12 <= low <= value <= high <= 1 + 1e-12


@given(st.floats(0, 1), st.floats(0, 1))
def test_spreads_of_shares_are_cut(value: float, spread: float) -> None:
    rows = ((0.0, value, spread), (1.0, 0.5, 0.1))
    table = Table(("eps", "accuracy", "accuracy ±"), rows, x="eps", units=shares("accuracy"))
    (_, low, high), _ = bars(table)
    assert -1e-12 <= low <= value <= high <= 1 + 1e-12


def test_figures_of_both_ages_are_shown() -> None:
    low, high = Share(0, 40).interval
    numbers = {"clean accuracy": 0.8, "clean accuracy ±": 0.1, "accuracy": 0.0}
    numbers |= {"accuracy, 95 % low": low, "accuracy, 95 % high": high}
    shown = view(older("audit", numbers))
    assert [figure.shown.text.replace("\u00a0", " ") for figure in shown.figures] == [
        "80.0 % [70.0, 90.0]",
        "0.0 % [0.0, 8.8]",
    ]
    old = score(older("knn", {"accuracy": 0.98, "accuracy ±": 0.05}))
    assert old is not None
    assert old.accuracy.interval == pytest.approx((0.93, 1.0))
