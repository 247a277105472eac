"""A stream of sets end to end: stages with replay, what is forgotten, fine-tuning, and going on from a run."""

import json
from pathlib import Path

import pytest
import torch

import withstand as ws
from toys import ToyPictures
from withstand.core.errors import ConfigError
from withstand.evaluation.probes.fine_tuning import FineTuning

TINY = {
    "epochs": 2,
    "batch": 16,
    "width": 12,
    "depth": 1,
    "cooled": 0.25,
    "annealing": 0.5,
    "memory": 16,
    "distil": 0.1,
}


def pictures(seed: int, size: int = 16) -> ToyPictures:
    return ToyPictures(48, size=size, seed=seed)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> ws.Run:
    options = TINY | {"stream": (pictures(1), pictures(2, size=20))}
    return ws.train(
        "infinite-lr",
        pictures(0),
        out=tmp_path_factory.mktemp("stream") / "run",
        options=options,
        allow=("toys",),
        quiet=True,
    )


def test_every_set_is_a_stage_that_goes_on_from_the_plateau_of_the_one_before(run: ws.Run) -> None:
    stages = [run.path, run.path / "first", run.path / "first" / "first"]
    assert all(json.loads((stage / "run.json").read_text())["status"] == "finished" for stage in stages)
    assert not (stages[-1] / "first").exists()
    assert all((stage / "kept" / "plateau").is_dir() for stage in stages)


def test_forgetting_is_told_of_every_set_after_every_stage(run: ws.Run) -> None:
    finding = run.forgetting()
    for table in finding.tables.values():
        assert len(table.rows) == 3
        assert len(table.columns) == 4
    assert all(torch.tensor(measure.value).isfinite() for measure in finding.figures.values())


def test_fine_tuning_leaves_the_run_as_it_was(run: ws.Run) -> None:
    before = {name: value.clone() for name, value in run.method.state_dict().items()}
    finding = run.fine_tune(pictures(0), FineTuning(labels=2, draws=2, steps=2))
    assert finding.figures
    assert all(torch.equal(value, before[name]) for name, value in run.method.state_dict().items())


def test_a_run_goes_on_with_a_further_set(run: ws.Run, tmp_path: Path) -> None:
    files = {path: path.read_bytes() for path in (run.path / "kept").rglob("*") if path.is_file()}
    options = {"first": str(run.path), "epochs": 2, "batch": 16, "annealing": 0.5}
    later = ws.train("infinite-lr", pictures(3), out=tmp_path / "later", options=options, allow=("toys",), quiet=True)
    assert later.method.encoder.width == run.method.encoder.width
    assert all(path.read_bytes() == content for path, content in files.items()), "the run itself is left alone"


def test_memory_without_anything_before_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="memory and distil are about sets that came before"):
        ws.train("infinite-lr", pictures(0), out=tmp_path / "one", options=TINY, allow=("toys",), quiet=True)
