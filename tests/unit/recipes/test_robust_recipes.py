"""Recipes of robust training: each runs on a few digits, and so does its claim."""

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from withstand.core.errors import ConfigError, DataError
from withstand.core.options import call
from withstand.data.arrays import ArraySource
from withstand.engine.experiment import Experiment
from withstand.engine.launch import train
from withstand.methods.labelled import LabelledMethod
from withstand.recipes import acl, comp_sum, done, pgd_at, robust_pictures, simclr, srat, trades
from withstand.recipes.claim import Claim

CASES: dict[str, tuple[ModuleType, dict[str, object]]] = {
    "pgd-at": (pgd_at, {}),
    "pgd-at, perturbed": (pgd_at, {"weight_perturbation": 0.005, "warmup": 2}),
    "fast-at": (pgd_at, {"kind": "fast"}),
    "free-at": (pgd_at, {"kind": "free"}),
    "trades": (trades, {}),
    "mart": (trades, {"mart": True}),
    "comp-sum": (comp_sum, {}),
    "acl": (acl, {}),
    "done": (done, {"ratio": 0.5}),
    "srat": (srat, {"ratio": 0.5, "imbalance": "exp"}),
}
CLAIMS = {
    "pgd_at": (),
    "trades": (),
    "comp_sum": (trades,),
    "acl": (simclr,),
    "done": (pgd_at,),
    "srat": (pgd_at,),
}
"""Recipes, and those that their claims compare with."""
TINY = {"data": "digits", "width": 2, "epochs": 1, "batch": 256}


def quick(experiment: Experiment) -> Experiment:
    return replace(experiment, plan=replace(experiment.plan, precision="float32", layout="contiguous"))


@pytest.mark.parametrize("name", CASES)
def test_recipes_run(name: str, tmp_path: Path) -> None:
    recipe, options = CASES[name]
    experiment = quick(call(recipe.experiment, {**TINY, "steps": 2, **options}, name=name))
    run = train(experiment, tmp_path / "run", quiet=True)
    assert run.record()["status"] == "finished"
    if isinstance(experiment.method, LabelledMethod):
        assert experiment.method.network()(torch.rand(2, 1, 8, 8)).shape == (2, 10)


@pytest.mark.parametrize("name", CLAIMS)
def test_claims_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def shrink(module: ModuleType) -> None:
        whole = module.experiment
        monkeypatch.setattr(module, "experiment", lambda setup, **given: quick(whole(replace(setup, **TINY), **given)))

    module = import_module(f"withstand.recipes.{name}")
    for one in (module, *CLAIMS[name]):
        shrink(one)
    monkeypatch.setattr(robust_pictures, "SAMPLES", 12)
    claim = module.claim(seeds=2)
    assert isinstance(claim, Claim)
    table = claim.finding().tables["clean and robust accuracy"]
    assert len(table.rows) == 2
    with pytest.raises(ConfigError, match="scale"):
        module.claim(scale="large")


def test_what_is_refused() -> None:
    pictures = np.zeros((40, 8, 8), dtype=np.uint8)
    with pytest.raises(DataError, match="learns from labels"):
        pgd_at.experiment(replace(pgd_at.SETUP, data=ArraySource(pictures)))
    with pytest.raises(DataError, match="learns from pictures"):
        trades.experiment(
            replace(trades.SETUP, data=ArraySource(np.zeros((40, 3), dtype=np.float32), np.arange(40) % 2))
        )
    with pytest.raises(ConfigError, match="did you mean 'fast'"):
        pgd_at.experiment(replace(pgd_at.SETUP, data="digits"), kind="fats")
    with pytest.raises(ConfigError, match="kind free"):
        pgd_at.experiment(replace(pgd_at.SETUP, data="digits"), kind="free", warmup=1)
