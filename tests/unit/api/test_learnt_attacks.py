"""A method that learns an attack, end to end: train, resume, export, and use on other runs."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import withstand as ws
from learnt import ToyClassifier, ToyPurifier, ToyUniversal
from toys import weights
from victims import digits
from withstand.api.front import open_run
from withstand.api.runs import Run
from withstand.attacks.inputs.noise import Noise
from withstand.attacks.learnt.perturbations import Perturbation, Universal
from withstand.cli.main import main
from withstand.core.errors import ConfigError
from withstand.core.part import build
from withstand.core.random import isolated
from withstand.core.roles import Method
from withstand.data.load import splits
from withstand.engine.experiment import Experiment, Plan
from withstand.engine.export import to_safetensors
from withstand.engine.launch import train
from withstand.engine.optimizers import Adam
from withstand.engine.schedules import Constant
from withstand.recipes.robust import pgd_at
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
        (learnt, ["--out", "attack.onnx"], "of form safetensors: give form onnx, or a name in .safetensors"),
        (learnt, ["--out", "attack.json"], "of form safetensors: give a name in .safetensors"),
    ):
        assert main(["export", str(run), "--part", "attack", "--allow", "learnt", *words]) == 2
        assert message in capsys.readouterr().err


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classifier") / "run"
    tiny = replace(pgd_at.SETUP, data="digits", width=4, epochs=2, batch=128, eps="0")
    made = pgd_at.experiment(tiny)
    train(replace(made, plan=replace(made.plan, precision="float32", layout="contiguous")), folder, quiet=True)
    return folder


@pytest.mark.parametrize("exported", [False, True])
def test_a_learnt_attack_is_run_on_another_run(
    learnt: Path, classifier: Path, exported: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = opened(learnt).export(tmp_path / "attack.safetensors", part="attack") if exported else learnt
    out = tmp_path / "found.npz"
    words = [
        "attack",
        str(classifier),
        "--attack",
        str(place),
        "--samples",
        "40",
        "--out",
        str(out),
        "--allow",
        "learnt",
    ]
    for more, eps in (([], 0.25), (["--eps", "0.1"], 0.1)):
        assert main([*words, "--out", str(out), *more]) == 0
        found = np.load(out)
        product = opened(learnt).method.product("attack")
        assert isinstance(product, Universal)
        values = product.perturbation.values.detach().numpy().clip(-eps, eps)
        clean = found["x"] / 255 if found["x"].dtype == np.uint8 else found["x"]
        np.testing.assert_allclose(found["adversarial"], (clean + values).clip(0, 1), atol=1e-6)
    told = capsys.readouterr().out
    assert "within what it was learnt in" in told
    assert "within 0.1" in told


def test_a_network_is_attacked_and_audited_by_a_learnt_attack(learnt: Path, tmp_path: Path) -> None:
    victim, x, y = digits()
    path = opened(learnt).export(tmp_path / "attack.safetensors", part="attack")
    attacked, batch = ws.attack(victim, (x, y), attack=str(path), samples=50)
    alone = attacked.success.float().mean().item()
    assert len(batch) == 50
    assert alone > 0.2
    finding = ws.audit(victim, (x, y), attack=path, samples=50, eps=0.25, steps=1, ensemble="none")
    assert "the learnt attack" in str(finding.protocol["headline"])
    assert "newly broken by the learnt attack" in finding.tables["which attack broke what"].columns
    assert finding.numbers["robust accuracy, linf 63.8/255"] <= 1 - alone + 0.2


def test_a_runs_audit_includes_a_learnt_attack(learnt: Path, classifier: Path) -> None:
    settings = {"samples": 20, "steps": 1, "ensemble": "none", "eps": 0.25}
    finding = open_run(classifier).audit(attack=opened(learnt).method.product("attack"), **settings)
    assert "the learnt attack" in finding.protocol["attacks"]["linf"]  # type: ignore[index,operator,call-overload]


def test_embeddings_are_moved_by_a_learnt_attack(learnt: Path) -> None:
    _, x, _ = digits()
    attack = opened(learnt).method.product("attack")
    with isolated("an encoder"):
        encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 8))
    settings = {"samples": 20, "steps": 1, "ensemble": "none", "eps": 0.25}
    without, beside = (ws.audit(encoder, x, attack=one, **settings) for one in (None, attack))
    name = "share nearer to another sample under attack, linf 63.8/255"
    assert beside.numbers[name] >= without.numbers[name]
    assert "the learnt attack" in str(beside.protocol["headline"])


def test_what_does_not_fit_is_one_clear_line(
    learnt: Path, classifier: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    larger = to_safetensors(Universal(perturbation=Perturbation((1, 16, 16))), tmp_path / "larger.safetensors")
    network = opened(learnt).export(tmp_path / "net.safetensors", part="attack")
    for words, message in (
        (["attack", "--attack", str(larger)], "learnt on samples of shape (1, 16, 16), and these have (1, 8, 8)"),
        (["audit", "--attack", str(larger)], "learnt on samples of shape (1, 16, 16), and these have (1, 8, 8)"),
        (["attack", "--attack", str(classifier)], "gives no attack"),
        (["attack", "--attack", str(learnt), "--steps", "5"], "was learnt beforehand, and has no steps"),
        (["attack", "--attack", str(learnt), "--norm", "l2"], "another norm needs eps too"),
        (["audit", "--attack", "pgd"], "neither a run folder nor a FILE.safetensors"),
    ):
        assert main([words[0], str(classifier), *words[1:], "--allow", "learnt"]) == 2
        told = capsys.readouterr().err
        assert message in told
        assert told.count("\n") == 1
    assert main(["audit", str(network), "--data", "digits"]) == 2
    assert "describes a Universal, not a network" in capsys.readouterr().err


def test_a_run_that_gives_a_classifier_and_no_encoder_is_attacked_audited_and_certified(tmp_path: Path) -> None:
    train(experiment(ToyClassifier(), 2), tmp_path, quiet=True, allow=("learnt",))
    run = opened(tmp_path)
    found, batch = run.attack(samples=8)
    assert batch.y is not None
    assert len(found.x) == 8
    audit = run.audit(samples=8, steps=2, ensemble="none")
    assert run.certify(samples=4, method="ibp").numbers["clean accuracy"] >= 0
    assert audit.numbers
    with pytest.raises(ConfigError, match="gives no encoder"):
        run.embed()
