"""Recipes of robust training: each runs on a few digits."""

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from toys import weights
from withstand.core.errors import ConfigError, DataError, RunError
from withstand.core.options import call
from withstand.data.arrays.source import ArraySource
from withstand.engine.experiment import Experiment
from withstand.engine.launch import train
from withstand.methods.robust.adversarial_training import AdversarialTraining
from withstand.methods.robust.deacl import DeACL
from withstand.methods.shared.adversarial_training.weightings import MAIL
from withstand.methods.shared.labelled import LabelledMethod
from withstand.recipes.contrastive import simclr
from withstand.recipes.robust import acl, comp_sum, deacl, done, gairat, mail, mart, pgd_at, rocl, srat, trades

CASES: dict[str, tuple[ModuleType, dict[str, object]]] = {
    "pgd-at": (pgd_at, {}),
    "pgd-at, perturbed": (pgd_at, {"weight_perturbation": 0.005, "warmup": 2}),
    "fast-at": (pgd_at, {"kind": "fast"}),
    "free-at": (pgd_at, {"kind": "free"}),
    "trades": (trades, {}),
    "mart": (trades, {"mart": True}),
    "mart, perturbed": (mart, {"weight_perturbation": 0.005}),
    "gairat": (gairat, {"burn_in": 0}),
    "mail": (mail, {"burn_in": 0}),
    "mail on trades": (mail, {"base": "trades", "burn_in": 0}),
    "rocl": (rocl, {}),
    "comp-sum": (comp_sum, {}),
    "acl": (acl, {}),
    "done": (done, {"ratio": 0.5}),
    "srat": (srat, {"ratio": 0.5, "imbalance": "exp"}),
}
TINY = {"data": "digits", "width": 2, "epochs": 1, "batch": 256}


def quick(experiment: Experiment) -> Experiment:
    return replace(experiment, plan=replace(experiment.plan, precision="float32", layout="contiguous"))


@pytest.mark.thorough
@pytest.mark.parametrize("name", CASES)
def test_recipes_run(name: str, tmp_path: Path) -> None:
    recipe, options = CASES[name]
    experiment = quick(call(recipe.experiment, {**TINY, "steps": 2, **options}, name=name))
    run = train(experiment, tmp_path / "run", quiet=True)
    assert run.record()["status"] == "finished"
    if isinstance(experiment.method, LabelledMethod):
        assert experiment.method.network()(torch.rand(2, 1, 8, 8)).shape == (2, 10)


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


def test_deacl_distils_the_encoder_of_a_run(tmp_path: Path) -> None:
    teacher = train(quick(simclr.experiment(replace(simclr.SETUP, **TINY))), tmp_path / "teacher", quiet=True)
    setup = replace(deacl.SETUP, **TINY, steps=2)
    experiment = quick(deacl.experiment(setup, teacher=str(teacher.path)))
    assert isinstance(experiment.method, DeACL)
    kept = weights(teacher.path)
    for name, value in experiment.method.teacher.state_dict().items():
        assert torch.equal(value, kept[f"encoder.{name}"])
    for one, two in zip(experiment.method.encoder.parameters(), experiment.method.teacher.parameters(), strict=True):
        assert torch.equal(one, two)
    student = train(experiment, tmp_path / "student", quiet=True)
    assert student.record()["status"] == "finished"
    distilled = weights(student.path)
    for name, value in experiment.method.teacher.state_dict().items():
        assert torch.equal(distilled[f"teacher.{name}"], value), "the run's teacher is the trained one"
    anew = deacl.experiment(setup, teacher=str(teacher.path), scratch=True)
    assert isinstance(anew.method, DeACL)
    assert not torch.equal(next(anew.method.encoder.parameters()), next(anew.method.teacher.parameters()))
    with pytest.raises(ConfigError, match="--width"):
        deacl.experiment(replace(setup, width=3), teacher=str(teacher.path))
    with pytest.raises(ConfigError, match="24 features, the teacher 16"):
        deacl.experiment(replace(setup, width=3), teacher=str(teacher.path), scratch=True)
    with pytest.raises(RunError, match="no run folder"):
        deacl.experiment(setup, teacher=str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="--teacher"):
        deacl.experiment(setup)


def test_deacl_distils_what_is_trained_first(tmp_path: Path) -> None:
    teacher = quick(simclr.experiment(replace(simclr.SETUP, **TINY)))
    student = quick(deacl.experiment(replace(deacl.SETUP, **TINY, steps=2), teacher=teacher))
    run = train(student, tmp_path / "run", quiet=True)
    kept, first = weights(run.path), weights(run.path / "first")
    for name in teacher.method.encoder.state_dict():
        assert torch.equal(kept[f"teacher.{name}"], first[f"encoder.{name}"])


def test_mail_knows_its_bases() -> None:
    with pytest.raises(ConfigError, match="base 'trade' is unknown: did you mean 'trades'"):
        mail.experiment(replace(mail.SETUP, data="digits"), base="trade")  # type: ignore[arg-type]
    experiment = mail.experiment(replace(mail.SETUP, data="digits", epochs=16), base="trades", slope=3.0)
    assert isinstance(experiment.method, AdversarialTraining)
    assert experiment.method.weighting == MAIL(10, 0.0, 3.0)
