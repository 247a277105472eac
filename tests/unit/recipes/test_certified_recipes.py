"""Recipes of training for certificates: each runs on a few digits, and so does its claim."""

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch

from withstand.core.errors import ConfigError
from withstand.core.options import call
from withstand.engine.experiment import Experiment
from withstand.engine.launch import train
from withstand.methods.robust.certified_training import CertifiedTraining
from withstand.recipes.claim import Claim
from withstand.recipes.robust import crown_ibp, ibp, pgd_at
from withstand.recipes.setups import certified_pictures

TINY = {"data": "digits", "width": 2, "depth": 2, "model": "convnet", "epochs": 1, "batch": 256}


def quick(experiment: Experiment) -> Experiment:
    return replace(experiment, plan=replace(experiment.plan, precision="float32", layout="contiguous"))


@pytest.mark.parametrize("recipe", [ibp, crown_ibp])
def test_recipes_run(recipe: ModuleType, tmp_path: Path) -> None:
    experiment = quick(call(recipe.experiment, {**TINY, "eps": "0.05", "kappa": 0.25}, name="certified"))
    method = experiment.method
    assert isinstance(method, CertifiedTraining)
    assert (method.eps, method.kappa) == (0.05, 0.25)
    assert method.bound == ("ibp" if recipe is ibp else "crown-ibp")
    run = train(experiment, tmp_path / "run", quiet=True)
    assert run.record()["status"] == "finished"
    assert method.network()(torch.rand(2, 1, 8, 8)).shape == (2, 10)


@pytest.mark.parametrize(("recipe", "other"), [(ibp, pgd_at), (crown_ibp, ibp)])
def test_claims_run(recipe: ModuleType, other: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (recipe, other):
        whole = module.experiment
        monkeypatch.setattr(
            module, "experiment", lambda setup, whole=whole, **given: quick(whole(replace(setup, **TINY), **given))
        )
    monkeypatch.setattr(certified_pictures, "SAMPLES", 12)
    claim = recipe.claim(seeds=2)
    assert isinstance(claim, Claim)
    table = claim.finding().tables["clean and certified accuracy"]
    assert len(table.rows) == 2
    for row in table.rows:
        assert all(row[place + 1] <= row[place] for place in (1, 3))  # what is proven is right
    with pytest.raises(ConfigError, match="scale"):
        recipe.claim(scale="large")
