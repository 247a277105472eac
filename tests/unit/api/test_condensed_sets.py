"""A condensed set is written as it was learnt, and what would choose samples of something is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch

from withstand.api.front import open_run
from withstand.cli.main import main
from withstand.data.arrays.source import ArraySource
from withstand.engine.experiment import Experiment, Plan
from withstand.engine.launch import train
from withstand.engine.optimizers import Adam
from withstand.engine.schedules import Constant
from withstand.methods.condensation.krr_st import KRRST
from withstand.views.compose import Compose


def test_a_condensed_set_takes_nothing_that_chooses_samples(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = torch.randint(0, 256, (8, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    plan = Plan(epochs=1, batch=8, optimizer=Adam(0.01), schedule=Constant(), precision="float32")
    run, out = tmp_path / "run", tmp_path / "set"
    train(Experiment("krr-st", ArraySource(x), Compose(()), KRRST.example(), plan), run, quiet=True)
    for words in (["--split", "train"], ["--id", "name"], ["--set", "steps=1"]):
        assert main(["apply", str(run), "--out", str(out), *words]) == 2
        assert "it takes no data, part, id or settings" in capsys.readouterr().err
    assert main(["apply", str(run), "--out", str(out)]) == 0
    learnt = open_run(run).method.pictures.detach()
    np.testing.assert_allclose(np.load(out / "condensed.npz")["x"], learnt * 0.25 + 0.5, atol=1e-6)
