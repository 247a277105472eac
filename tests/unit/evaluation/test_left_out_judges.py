"""Which of a run's own judges had not what they need is told wherever findings are."""

from pathlib import Path

import numpy as np
import pytest

import withstand as ws
from withstand.cli.verbs.probe import run_probe
from withstand.core.findings.finding import Finding
from withstand.evaluation.judges import left_out
from withstand.evaluation.representation.matched import Matched
from withstand.evaluation.representation.sample_state import SampleState
from withstand.evaluation.small import small_pictures
from withstand.methods.contrastive.lvm_med import GraphMatching

SMALL = {"graph_size": 8, "neighbours": 2, "batch": 8, "model": "resnet:2"}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("matching")
    pictures = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    np.savez(folder / "pictures.npz", x=pictures)
    return ws.train("lvm-med", str(folder / "pictures.npz"), out=folder / "run", epochs=1, options=SMALL).path


def test_each_judge_that_lacks_something_says_what() -> None:
    method, few = GraphMatching.example(), small_pictures(3)
    (told,) = left_out((Matched.example(), SampleState()), method, small_pictures(8), test=few)
    assert [(check.name, check.passed, check.detail) for check in told.checks] == [
        ("matched", None, "left out: a graph takes 4 samples, and there are 3"),
        ("sample state", None, "left out: GraphMatching keeps nothing of its samples that could be shown"),
    ]
    assert left_out((Matched.example(),), method, small_pictures(8)) == []


def test_the_command_and_the_report_tell_it(path: Path) -> None:
    why = "a graph takes 8 samples, and there are 4"
    reply = run_probe(path)
    assert f"left-out\n  [not judged] matched: left out: {why}" in reply.text
    page = (ws.Run(path).report()).read_text(encoding="utf-8")
    assert why in page
    assert "<h3>Left out</h3>" not in page  # a heading with nothing below


def test_what_is_there_by_now_is_no_longer_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = ws.Run(path)
    run.probe()
    assert "left-out" in [finding.name for finding in run.folder.findings()]
    monkeypatch.setattr(Matched, "lacks", lambda *_: "")
    monkeypatch.setattr(Matched, "evaluate", lambda *_, **__: Finding("matched"))
    names = [finding.name for finding in run.probe()]
    assert "matched" in names
    assert "left-out" not in names
    assert sorted(names) == [finding.name for finding in run.folder.findings()]
    assert "left out:" not in run.report().read_text(encoding="utf-8")


def test_the_runs_own_judges_say_that_they_judge_no_other_data(path: Path, tmp_path: Path) -> None:
    pictures = np.random.default_rng(1).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "other.npz", x=pictures)
    found = {finding.name: finding for finding in ws.Run(path).probe(str(tmp_path / "other.npz"))}
    assert "matched" not in found
    (check,) = found["left-out"].checks
    assert (check.name, check.passed) == ("matched", None)
    assert "it judges the run's own data alone" in check.detail
    assert "left-out, on other" in [finding.name for finding in ws.Run(path).folder.findings()]
