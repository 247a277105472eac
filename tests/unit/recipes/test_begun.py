"""`--first RUN`: recipes on pictures begin with what a run learnt, on its kind of network, or say why they cannot."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import withstand as ws
from withstand.api.front import experiment
from withstand.api.runs import Run
from withstand.cli.main import main
from withstand.core.errors import ConfigError, RunError
from withstand.core.roles import Model
from withstand.engine import checkpoint
from withstand.engine.fit import fit
from withstand.models.blocks.memory.ema import Teacher

OLD, NEW = (np.random.default_rng(seed).integers(0, 256, (30, 8, 8, 3), np.uint8) for seed in (0, 1))
SMALL = {"width": 4, "batch": 12}


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of SimCLR on a ViT, whose size is no recipe's own."""
    options = {"model": "vit", "width": 12, "depth": 1, "batch": 12}
    out = tmp_path_factory.mktemp("old") / "run"
    return ws.train("simclr", OLD, out=out, epochs=1, options=options, quiet=True)


def continued(method: str, old: Run, out: Path, epochs: int = 1, **options: object) -> Run:
    given = {"batch": 12, "first": str(old.path), **options}
    return ws.train(method, NEW, out=out, epochs=epochs, options=given, quiet=True)


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    left, right = one.state_dict(), other.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_the_same_method_begins_with_all_that_was_learnt(old: Run, tmp_path: Path) -> None:
    run = continued("simclr", old, tmp_path / "run")
    assert same(run.untrained_method, old.method)
    assert not same(run.method, old.method)
    assert run.folder.record()["begins with"] == {
        "run": str(old.path), "name": "simclr", "step": 2, "weights": "all"
    }  # fmt: skip
    assert run.begins_with == f"the weights of {old.path}"
    gauges = next(finding for finding in run.probe() if finding.name == "gauges")
    assert "before training" in str(gauges)


@pytest.mark.parametrize("method", ["byol", "dcl", "mocov2", "mae"])
def test_another_method_begins_with_the_encoder_and_so_do_its_teachers(method: str, old: Run, tmp_path: Path) -> None:
    run = continued(method, old, tmp_path / "run")
    assert same(run.untrained_method.encoder, old.encoder)
    for teacher in (part for part in run.untrained_method.modules() if isinstance(part, Teacher)):
        models = [part for part in teacher.modules() if isinstance(part, Model) and type(part) is type(old.encoder)]
        assert models
        assert all(same(model, old.encoder) for model in models)
    assert run.folder.record()["begins with"]["weights"] == ("all" if method == "simclr" else "encoder")


def test_hardened_methods_too(old: Run, tmp_path: Path) -> None:
    run = continued("simclr", old, tmp_path / "run", robust="2/255")
    assert same(run.untrained_method.encoder, old.encoder)


def test_a_resumed_run_is_the_same_to_the_last_bit(old: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = continued("byol", old, tmp_path / "whole", epochs=2)
    moved = tmp_path / "old"
    shutil.copytree(old.path, moved)
    given = {"batch": 12, "first": str(moved)}
    made = experiment("byol", {"data": NEW, "epochs": 2, **given}, settings={"plan.save_every": 0.0})
    save, calls = checkpoint.save, []

    def stop(folder: Path, *rest: object, **more: object) -> None:
        save(folder, *rest, **more)  # type: ignore[arg-type]
        calls.append(folder.name)
        if calls.count("checkpoint") == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(f"{fit.__module__}.checkpoint.save", stop)
    with pytest.raises(KeyboardInterrupt):
        ws.train(made, out=tmp_path / "part", quiet=True)
    monkeypatch.undo()
    shutil.move(moved, tmp_path / "away")  # the run that it began with is needed no more
    with pytest.raises(RunError, match="there is no run folder"):
        ws.train(made, out=tmp_path / "other", quiet=True)
    assert same(ws.train(made, out=tmp_path / "part", quiet=True).method, whole.method)


def test_what_does_not_fit_is_told_in_one_line(old: Run, tmp_path: Path) -> None:
    refused = [
        ("simclr", "digits", {"model": "resnet"}, r"model is 'vit' in .*, not 'resnet': leave it out, or say the same"),
        ("simclr", "digits", {"width": 24}, r"width is 12 in .*, not 24"),
        ("simclr", "digits", {}, r"another make: .* is 3 there and 1 here, so that .* is \(12, .*\) there and \(12, "),
        ("lq-vae", NEW, {}, r"learnt a Normalized where this method has a .*: its weights do not fit"),
        (
            "t-jepa",
            pd.DataFrame({"a": range(30), "b": [0.5, 1.5] * 15}),
            {},
            "first is for recipes on pictures, and t-jepa learns from rows of shape",
        ),
        ("mcl", NEW, {"stages": 2}, r"mcl builds on an earlier stage of its own: it cannot begin with"),
    ]
    for method, data, options, says in refused:
        with pytest.raises(ConfigError, match=says):
            experiment(method, {"data": data, "first": str(old.path), **options})
    with pytest.raises(RunError, match="there is no run folder"):
        experiment("simclr", {"data": NEW, "first": str(tmp_path / "none")})


def test_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name, pictures in (("old", OLD), ("new", NEW)):
        Path(name).mkdir()
        for place, picture in enumerate(pictures):
            Image.fromarray(picture).save(f"{name}/{place}.png")
    words = ["--epochs", "1", "--batch", "12", "--quiet"]
    size = ["--size", "8", "--model", "convnet", "--width", "4", "--depth", "1"]
    assert main(["train", "simclr", "--data", "old", "--out", "one", *size, *words]) == 0
    assert main(["train", "byol", "--data", "new", "--first", "one", "--out", "two", *words[:-1]]) == 0
    assert "begins with the encoder of one, simclr after 2 steps" in capsys.readouterr().err
    tree = json.loads(Path("two/run.json").read_text())["tree"]["init_args"]
    assert tree["start"] == "one"
    assert main(["train", "byol", "--data", "new", "--first", "one", "--model", "vit", "--out", "three", *words]) == 2
    assert "model is 'convnet' in one, not 'vit'" in capsys.readouterr().err
    assert main(["probe", "two"]) == 0
    assert "before training" in capsys.readouterr().out
    assert main(["report", "two"]) == 0
    assert "the encoder of one" in Path("two/report.html").read_text()
