"""Recipes of training for certificates: each runs on a few digits."""

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch

from withstand.core.options import call
from withstand.engine.experiment import Experiment
from withstand.engine.launch import train
from withstand.methods.robust.certified_training import CertifiedTraining
from withstand.recipes.robust import crown_ibp, ibp

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
