"""Experiments in stages: each is trained in its own folder, and hands on what it learnt, to the last bit."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import faults
from faults import FaultyView, Stop
from toys import toy_experiment, weights
from withstand.core.errors import ConfigError, DataError, RunError
from withstand.core.part import again
from withstand.core.roles import Method
from withstand.engine.experiment import Experiment
from withstand.engine.launch import train
from withstand.methods.contrastive.g_simclr import GSimCLR
from withstand.methods.contrastive.mcl import MCL
from withstand.methods.contrastive.simclr import SimCLR
from withstand.recipes.setups.staged.stages import staged

ALLOW = ("toys", "faults")


def stages(count: int = 2) -> Experiment:
    """Stages of two epochs of five batches."""
    plain = toy_experiment(count=80, save_every=0.0, epochs=2)
    return staged(replace(plain, view=FaultyView(plain.view)), stages=count, clusters=3)


def guided() -> Experiment:
    plain = toy_experiment(count=80, save_every=0.0, epochs=2)
    code = replace(plain, name="code", plan=replace(plain.plan, epochs=1))
    method = GSimCLR(again(plain.method.encoder), again(code.method.encoder), samples=80, clusters=16, dim=8)
    return replace(plain, method=method, view=FaultyView(plain.view), first=code)


def same(one: Path, other: Path) -> None:
    theirs = weights(other)
    for name, value in weights(one).items():
        assert torch.equal(value, theirs[name]), name


def test_each_stage_inherits_the_last_ones_encoders_and_groups(tmp_path: Path) -> None:
    faults.arrange()
    folder = train(stages(3), tmp_path / "run", quiet=True, allow=ALLOW)
    one, two, three = (weights(path) for path in (folder.first.first.path, folder.first.path, folder.path))
    encoder = {name: value for name, value in one.items() if name.startswith("encoder.")}
    for name, value in encoder.items():
        inner = name.removeprefix("encoder.")
        assert torch.equal(two[f"before.{inner}"], value)
        assert torch.equal(three[f"before.encoders.0.{inner}"], value)
        assert torch.equal(three[f"before.encoders.1.{inner}"], two[f"method.encoder.{inner}"])
        assert not value.is_floating_point() or not torch.equal(two[f"method.encoder.{inner}"], value), name
    assert torch.equal(three["group_labels"] // 3, two["group_labels"])
    assert len(two["group_labels"].unique()) == 3
    assert json.loads((folder.path / "run.json").read_text())["status"] == "finished"


@pytest.mark.parametrize("make", [stages, guided])
def test_resume_in_any_stage(make, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    faults.arrange()
    train(make(), tmp_path / "whole", quiet=True, allow=ALLOW)
    every = faults.plan.views
    for stop in (4, every // 2):
        faults.arrange(stop_view=stop)
        with pytest.raises(Stop):
            train(make(), tmp_path / "stopped", quiet=True, allow=ALLOW)
    faults.arrange()
    train(make(), tmp_path / "stopped", quiet=True, allow=ALLOW)
    assert 0 < faults.plan.views < every
    same(tmp_path / "whole", tmp_path / "stopped")
    faults.arrange()
    train(make(), tmp_path / "stopped", quiet=True, allow=ALLOW)
    assert faults.plan.views == 0, "a finished run stays as it is"
    train(make(), tmp_path / "stopped", fresh=True, quiet=True, allow=ALLOW)
    assert faults.plan.views == every, "and all stages start over"
    same(tmp_path / "whole", tmp_path / "stopped")


def test_one_stage_is_the_wrapped_method(tmp_path: Path) -> None:
    faults.arrange()
    one = stages(1)
    assert isinstance(one.method, SimCLR)
    plain = replace(one, name="toy")
    for name, some in (("one", one), ("plain", plain)):
        train(some, tmp_path / name, quiet=True, allow=ALLOW)
    same(tmp_path / "one", tmp_path / "plain")


def test_a_run_can_build_on_another_runs_folder(tmp_path: Path) -> None:
    faults.arrange()
    made = guided()
    assert isinstance(made.first, Experiment)
    train(made.first, tmp_path / "code", quiet=True, allow=ALLOW)
    folder = train(replace(made, first=str(tmp_path / "code")), tmp_path / "run", quiet=True, allow=ALLOW)
    code, kept = weights(tmp_path / "code"), weights(folder.path)
    assert torch.equal(kept["features.encoder.stem.weight"], code["encoder.encoder.stem.weight"])
    assert not folder.first.path.exists()
    with pytest.raises(RunError, match="no run folder"):
        train(replace(made, first=str(tmp_path / "none")), tmp_path / "other", quiet=True, allow=ALLOW)


def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    made = guided()
    assert isinstance(made.method, GSimCLR)
    few: Method = GSimCLR(made.method.encoder, made.method.features, samples=80, clusters=8, dim=8)
    with pytest.raises(ConfigError, match="batch 16 takes each sample from another cluster, and there are 8"):
        train(replace(made, method=few), tmp_path / "run", quiet=True)
    assert isinstance(made.first, Experiment)
    with pytest.raises(DataError, match="larger than the 80"):
        train(
            replace(made, first=replace(made.first, plan=replace(made.plan, batch=100))), tmp_path / "run", quiet=True
        )
    with pytest.raises(ConfigError, match="samples is 79, but the data have 80"):
        train(
            replace(made, method=MCL(SimCLR(made.method.encoder), made.method.features, samples=79)), tmp_path / "run"
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("as_a_run", [True, False])
def test_a_method_that_builds_on_nothing_refuses_an_earlier_stage(as_a_run: bool, tmp_path: Path) -> None:
    plain = toy_experiment(epochs=1)
    first = str(train(plain, tmp_path / "first", quiet=True, allow=ALLOW).path) if as_a_run else plain
    with pytest.raises(ConfigError, match=r"SimCLR starts from new weights: it takes no earlier stage"):
        train(replace(plain, first=first), tmp_path / "run", quiet=True, allow=ALLOW)
    assert not (tmp_path / "run").exists()
