"""Runs side by side: what they share is put together, what differs is said."""

import json
from pathlib import Path

import pytest

from withstand.core.errors import ConfigError, RunError
from withstand.core.findings.finding import Finding, Measure, Table
from withstand.report.folder import StoredRun
from withstand.report.several.compare import compare, comparison


def a_run(folder: Path, robust: float, *, eps: tuple[float, ...] = (0.0, 0.1), split: str = "a") -> Path:
    folder.mkdir()
    record = {"name": "toy", "status": "finished", "seconds": 65, "data": {"name": "toys"}}
    (folder / "run.json").write_text(json.dumps(record))
    rows = tuple((at, 0.9 - at * (9 - 10 * robust)) for at in eps)
    Finding(
        "audit",
        figures={
            "clean accuracy": Measure(0.9, "share", "higher", spread=0.02, control=Measure(0.3, "share", "higher")),
            "robust accuracy, linf 0.1": Measure(robust, "share", "higher"),
            "queries": Measure(40.0, "count", "lower"),
        },
        tables={
            "accuracy against eps": Table(("eps", "robust accuracy"), rows, x="eps", units={"robust accuracy": "share"})
        },
        protocol={"split": split},
    ).save(folder / "findings")
    return folder


def test_figures_and_curves_stand_side_by_side(tmp_path: Path) -> None:
    runs = [a_run(tmp_path / "plain", 0.1), a_run(tmp_path / "hard", 0.6, eps=(0.0, 0.05, 0.1))]
    found = compare(runs, tmp_path / "new" / "page.html")
    assert not found.cautions
    assert [row[0].text for row in found.runs.rows] == ["plain", "hard"]
    (title, table), (chart,) = found.figures[0], found.charts
    assert title == "Audit"
    shown = {row[0].text: [cell.text.replace("\xa0", " ") for cell in row[1:]] for row in table.rows}
    assert shown["Clean accuracy"] == ["90.0 ± 2.0 %", "90.0 ± 2.0 %"]
    assert shown["Clean accuracy, untrained control"] == ["30.0 %", "30.0 %"]
    assert shown["Robust accuracy, Linf 0.1"] == ["10.0 %", "60.0 %"]
    assert shown["Queries"] == ["40", "40"]
    traces = chart.figure["data"]
    assert [trace["name"] for trace in traces] == ["plain", "hard"]
    assert traces[0]["y"] == pytest.approx([0.9, None, 0.1])
    assert traces[1]["y"] == pytest.approx([0.9, 0.75, 0.6])
    assert "hard" in found.text
    assert "0.6" in found.text
    page = (tmp_path / "new" / "page.html").read_text()
    assert "plain · hard" in page


def test_losses_lie_over_each_other_and_a_run_has_one_color(tmp_path: Path) -> None:
    runs = {}
    for place, name in enumerate(("a", "b", "c")):
        folder = a_run(tmp_path / name, 0.1)
        if name != "b":  # which was only audited
            rows = [{"step": k, "epoch": k / (place + 1), "loss": float(k), "std": 0.5} for k in (1, 2)]
            (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        runs[name] = StoredRun.read(folder)
    found = comparison(runs)
    loss, spread = found.learning
    assert [loss.title, spread.title] == ["Loss", "Spread"]
    assert [key.name for key in loss.keys] == ["a", "c"]
    assert [trace["x"] for trace in loss.figure["data"]] == [[1.0, 2.0], [pytest.approx(1 / 3), pytest.approx(2 / 3)]]
    assert [trace["meta"] for trace in loss.figure["data"]] == [0, 2]
    (curve,) = found.charts
    assert {trace["name"]: trace["meta"] for trace in curve.figure["data"]} == {"a": 0, "b": 1, "c": 2}


def test_of_many_runs_four_are_drawn_and_no_two_alike(tmp_path: Path) -> None:
    runs = {f"run {k}": StoredRun.read(a_run(tmp_path / f"run {k}", 0.1)) for k in range(12)}
    (chart,) = comparison(runs).charts
    assert [key.shown for key in chart.keys] == [True] * 4 + [False] * 8
    assert len({(key.color % 10, key.mark) for key in chart.keys}) == 12


def test_what_may_not_be_compared_is_said(tmp_path: Path) -> None:
    runs = {name: StoredRun.read(a_run(tmp_path / name, 0.1, split=name)) for name in ("a", "b")}
    assert comparison(runs).cautions == ("Audit was measured on other samples in some of these runs.",)


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    run = a_run(tmp_path / "a", 0.1)
    for few in ([run], [run, run], []):
        with pytest.raises(ConfigError, match="two runs or more"):
            compare(few, tmp_path / "page.html")
    with pytest.raises(RunError, match="not a run folder"):
        compare([run, tmp_path], tmp_path / "page.html")
