"""A method that learns an attack, end to end: train, resume, export, and use on other runs."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from learnt import ToyPurifier, ToyUniversal
from toys import weights
from victims import digits
from withstand.api.front import open_run
from withstand.api.runs import Run
from withstand.attacks.inputs.noise import Noise
from withstand.attacks.learnt.perturbations import Universal
from withstand.cli.main import main
from withstand.core.part import build
from withstand.core.roles import Method
from withstand.data.load import splits
from withstand.engine.experiment import Experiment, Plan
from withstand.engine.launch import train
from withstand.engine.optimizers import Adam
from withstand.engine.schedules import Constant
from withstand.views.compose import Compose


def experiment(method: Method, epochs: int) -> Experiment:
    source, test = splits("digits")
    numerics = {"precision": "float32", "layout": "contiguous"}
    plan = Plan(epochs=epochs, batch=128, optimizer=Adam(0.05), schedule=Constant(), **numerics)
    return Experiment("toy universal", source, Compose(()), method, plan, test=test)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("learnt") / "run"
    train(experiment(ToyUniversal(), 3), folder, quiet=True, allow=("learnt",))
    return folder


def opened(folder: Path) -> Run:
    return open_run(folder, allow=("learnt",))


def test_the_attack_that_a_run_gives_deceives_more_than_noise_of_its_size(learnt: Path) -> None:
    attack = opened(learnt).method.product("attack")
    assert isinstance(attack, Universal)
    victim, x, y = digits()
    found = attack(victim, x, y)
    assert attack.perturbation.values.abs().max() <= attack.ball.eps
    assert int(found.success.sum()) > 2 * int(Noise(attack.ball)(victim, x, y).success.sum())


def test_an_attack_is_learnt_on_after_a_stop_to_the_last_bit(learnt: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(learnt, folder)
    for place in (folder, tmp_path / "whole"):
        train(experiment(ToyUniversal(), 5), place, quiet=True, allow=("learnt",))
    one, other = weights(folder), weights(tmp_path / "whole")
    assert torch.equal(one["perturbation.values"], other["perturbation.values"])
    assert not torch.equal(one["perturbation.values"], weights(learnt)["perturbation.values"])


def test_an_attack_is_exported_with_what_it_has_learnt(learnt: Path, tmp_path: Path) -> None:
    path = tmp_path / "attack.safetensors"
    assert main(["export", str(learnt), "--part", "attack", "--out", str(path), "--allow", "learnt"]) == 0
    attack = opened(learnt).method.product("attack")
    assert isinstance(attack, Universal)
    tensors = load_file(path)
    assert tensors.keys() == {"perturbation.values"}
    assert torch.equal(tensors["perturbation.values"], attack.perturbation.values)
    built = build(json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["tree"])
    assert isinstance(built, Universal)
    assert built.ball == attack.ball


def test_what_cannot_be_exported_is_told(learnt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(experiment(ToyPurifier(), 1), tmp_path / "purifier", quiet=True, allow=("learnt",))
    for run, words, message in (
        (learnt, ["--form", "onnx"], "ONNX files hold networks, and an attack is none"),
        (tmp_path / "purifier", [], "gives no attack: it gives purifier"),
    ):
        assert main(["export", str(run), "--part", "attack", "--allow", "learnt", *words]) == 2
        assert message in capsys.readouterr().err
