"""kill -9 at random instants: the same command goes on, and ends where nothing had happened."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from toys import weights

SCRIPT = """
import sys
from pathlib import Path
sys.path[:0] = {path!r}
import torch
from toys import toy_experiment
from withstand.engine.launch import train

torch.set_num_threads(1)
print("begun", flush=True)
train(toy_experiment(epochs={epochs}, count=80, save_every=0.05), Path(sys.argv[1]), quiet=True, allow=("toys",))
"""


def start(script: Path, out: Path) -> subprocess.Popen[str]:
    """Start the command, and return it once its imports are done: only what it does itself is worth killing."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    run = subprocess.Popen([sys.executable, str(script), str(out)], stdout=subprocess.PIPE, text=True, env=environment)
    assert run.stdout is not None
    assert run.stdout.readline() == "begun\n"
    return run


def assert_survives(kills: int, epochs: int, folder: Path) -> None:
    script = folder / "command.py"
    script.write_text(SCRIPT.format(path=sys.path, epochs=epochs))
    whole_run = start(script, folder / "whole")
    began = time.perf_counter()
    assert whole_run.wait() == 0
    span = time.perf_counter() - began
    delays = random.Random(0)
    killed = 0
    while killed < kills:
        run = start(script, folder / "killed")
        try:
            # From the first instants, when the folder is claimed, to well inside the run.
            code = run.wait(timeout=delays.uniform(0.0, 1.2 * span / kills))
        except subprocess.TimeoutExpired:
            run.send_signal(signal.SIGKILL)
            assert run.wait() == -signal.SIGKILL
            killed += 1
        else:
            assert code == 0
            break  # it got to the end before all kills were spent
    if (folder / "killed" / "run.json").exists():
        assert json.loads((folder / "killed" / "run.json").read_text())["status"] in ("running", "finished")
    assert start(script, folder / "killed").wait() == 0
    print(f"{killed} kills in a run of {span:.1f} s")
    assert killed >= kills / 2
    whole, resumed = weights(folder / "whole"), weights(folder / "killed")
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    assert metrics(folder / "whole") == metrics(folder / "killed")
    kept = sorted(path.name for path in (folder / "killed" / "checkpoint").iterdir())
    assert kept[-1] == f"step-{5 * epochs:08d}"
    assert len(kept) == 2  # and nothing that a kill left behind
    assert json.loads((folder / "killed" / "run.json").read_text())["status"] == "finished"


def metrics(folder: Path) -> list[tuple[float, float]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["loss"]) for line in lines]


@pytest.mark.thorough
def test_two_kills(tmp_path: Path) -> None:
    assert_survives(2, 12, tmp_path)


@pytest.mark.slow
def test_twenty_kills(tmp_path: Path) -> None:
    assert_survives(20, 120, tmp_path)
