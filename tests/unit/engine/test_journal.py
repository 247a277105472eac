"""metrics.jsonl, the gauges, and the warning of collapse."""

import json
import sys
import warnings
from pathlib import Path

import pytest
import torch

from withstand.core.errors import MissingExtra
from withstand.engine.journal import Journal, gauges, tensorboard_writer

LINE = {"step": 1.0, "loss": 0.5, "rate": 10.0, "seconds": 1.0}


def journal(path: Path | None, done: int = 0, writer=None) -> Journal:
    return Journal(path, total=10, done=done, title="toy", quiet=True, writer=writer)


def test_a_resumed_run_cuts_what_it_will_write_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with journal(path) as first:
        for step in range(1, 6):
            first.write({**LINE, "step": float(step)})
    whole = path.read_text()
    path.write_text(whole + '{"step": 6.0, "lo')  # a kill cut the last line short
    with journal(path, done=3) as second:
        second.write({**LINE, "step": 4.0})
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2, 3, 4]
    assert list(tmp_path.iterdir()) == [path]


def test_lines_are_on_the_disk_at_once(tmp_path: Path) -> None:
    with journal(tmp_path / "metrics.jsonl") as open_journal:
        open_journal.write(LINE | {"loss": 0.123456789})
        assert json.loads((tmp_path / "metrics.jsonl").read_text())["loss"] == 0.1234568


def test_other_processes_write_nothing_and_writers_get_all(tmp_path: Path) -> None:
    seen: list[dict[str, float]] = []
    with journal(None, writer=seen.append) as silent:
        silent.write(LINE)
    assert seen == [LINE]


def test_gauges_of_a_spread_a_collapsed_and_a_single_view() -> None:
    generator = torch.Generator().manual_seed(0)
    spread = torch.randn(1, 512, 8, generator=generator)
    found = gauges(spread.expand(2, -1, -1))
    assert found["std"] == pytest.approx(1.0, abs=0.05)
    assert found["effective_rank"] == pytest.approx(8.0, abs=0.1)
    assert found["alignment"] == pytest.approx(0.0, abs=1e-6)
    assert found["uniformity"] < -2
    assert "alignment" not in gauges(spread)
    point = gauges(torch.ones(2, 16, 8))
    assert point["std"] == pytest.approx(0.0, abs=1e-5)
    assert point["effective_rank"] == 0.0
    assert point["uniformity"] == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("found", [{"std": 0.01, "effective_rank": 4.0}, {"std": 0.9, "effective_rank": 1.2}])
def test_collapse_is_told_once(found: dict[str, float]) -> None:
    one = journal(None)
    with pytest.warns(UserWarning, match=r"collapsing \(std .* lower learning rate") as told:
        one.watch(found)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one.watch(found)
    assert len(told) == 1


@pytest.mark.parametrize(("total", "first"), [(10, 1), (40, 4), (5000, 100)])
def test_first_weights_are_not_said_to_collapse(total: int, first: int) -> None:
    one = Journal(None, total=total, done=0, title="toy", quiet=True)
    found = {"std": 0.01, "effective_rank": 4.0}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for step in range(1, first):
            one.watch({**found, "step": float(step)})
    with pytest.warns(UserWarning, match="collapsing"):
        one.watch({**found, "step": float(first)})


def test_health_and_absent_gauges_are_no_reason_to_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        journal(None).watch({"std": 0.9, "effective_rank": 4.0})
        journal(None).watch({"loss": 1.0})


def test_tensorboard_absent_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtra, match=r"pip install 'withstand\[tensorboard\]'"):
        tensorboard_writer(tmp_path)
