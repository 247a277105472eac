"""A package of somebody else's, with a Source, a View and a Method of its own, goes the whole way on our parts."""

import os
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
import torch

from toys import weights
from withstand.cli.main import main

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for runs; the examples' modules can be imported, by other processes too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        yield tmp_path_factory.mktemp("outside")
    for name in [name for name in sys.modules if name.partition(".")[0] == "tones"]:
        del sys.modules[name]


def trained(out: Path, epochs: int, processes: int = 1) -> None:
    import_module("tones.train").train(out, epochs, processes)


@pytest.fixture(scope="module")
def run(home: Path) -> Path:
    """A run that stopped after two epochs and went on to four."""
    trained(home / "run", 2)
    trained(home / "run", 4)
    return home / "run"


@pytest.mark.thorough
def test_a_run_goes_on_and_two_processes_learn_the_same(home: Path, run: Path) -> None:
    trained(home / "shared", 2, processes=2)
    trained(home / "shared", 4)
    first, second = weights(run), weights(home / "shared")
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.thorough
def test_it_is_probed_audited_exported_and_reported_by_command(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    allowed = [str(run), "--allow", "tones"]
    assert main(["probe", *allowed]) == 0
    attack = ["--samples", "16", "--steps", "2", "--ensemble", "none", "--eps", "0.02"]
    assert main(["audit", *allowed, *attack]) == 0
    assert main(["embed", *allowed]) == 0
    assert main(["export", *allowed, "--part", "classifier"]) == 0
    assert main(["report", str(run)]) == 0
    assert "96 unlabelled tones" in (run / "report.html").read_text()
    assert "linear" in capsys.readouterr().out


def test_without_leave_its_code_is_not_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", str(run)]) == 2
    assert "allow module 'tones'" in capsys.readouterr().err
