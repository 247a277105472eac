"""`withstand defend --by`: a purifier by name or of a run, or another run's encoder, in front of a run's classifier."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from learnt import ToyPurifier
from withstand.cli.main import main
from withstand.core.findings.finding import Finding
from withstand.data.load import splits
from withstand.engine.experiment import Experiment, Plan
from withstand.engine.launch import train
from withstand.engine.optimizers import SGD
from withstand.recipes.contrastive import simclr
from withstand.recipes.robust import pgd_at
from withstand.views.compose import Compose

TINY = {"data": "digits", "width": 2, "epochs": 1, "batch": 256}
QUICK = ["--samples", "20", "--known", "4", "--steps", "2", "--queries", "5", "--eps", "0.1"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    numerics = {"precision": "float32", "layout": "contiguous"}
    for module, path in ((simclr, "encoder"), (pgd_at, "classifier")):
        made = module.experiment(replace(module.SETUP, **TINY))
        train(replace(made, plan=replace(made.plan, **numerics)), folder / path, quiet=True)
    source, test = splits("digits")
    plan = Plan(epochs=1, batch=256, optimizer=SGD(0.5), **numerics)
    toy = Experiment("toy purifier", source, Compose(()), ToyPurifier(), plan, test=test)
    train(toy, folder / "purifier", quiet=True, allow=("learnt",))
    return {name: folder / name for name in ("encoder", "classifier", "purifier")}


@pytest.mark.thorough
@pytest.mark.parametrize("by", ["bit-depth", "median", "jpeg", "noise"])
def test_a_purifier_by_name_guards_a_runs_classifier(
    runs: dict[str, Path], by: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["defend", str(runs["classifier"]), "--by", by, *QUICK]) == 0
    told = capsys.readouterr().out
    assert "White-box accuracy" in told
    finding = Finding.load(runs["classifier"] / "findings" / "purification.json")
    assert finding.headline == "white-box accuracy, linf 25.5/255"
    assert len(finding.tables["attacks"].rows) == 8
    assert "Purification" in (runs["classifier"] / "report.html").read_text(encoding="utf-8")


def test_a_runs_purifier_guards_another_runs_classifier(
    runs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["defend", str(runs["classifier"]), "--by", str(runs["purifier"]), "--allow", "learnt", *QUICK, "--json"]
    assert main(words) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["protocol"]["defense"]["init_args"]["filter"]["external"] == "learnt.Smoother"
    assert facts["protocol"]["samples"] == 20


def test_a_run_without_a_purifier_detects_by_its_encoder(
    runs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--neighbours", "3", "--rank", "2", "--attacks", "fgsm", "--no-adaptive"]
    assert main(["defend", str(runs["classifier"]), "--by", str(runs["encoder"]), *QUICK, *words]) == 0
    assert "clean accuracy with rejection" in capsys.readouterr().out
    assert (runs["classifier"] / "findings" / "detection.json").exists()


def test_a_guard_runs_where_it_is_told_to(runs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    words = ["defend", str(runs["classifier"]), "--by", "median", *QUICK]
    assert main([*words, "--device", "cpu"]) == 0
    if not torch.backends.mps.is_available():
        assert main([*words, "--device", "mps"]) == 2
        assert "device mps is not available here" in capsys.readouterr().err


def test_what_is_no_guard_is_told(runs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    for by, message in (("jpg", "did you mean 'jpeg'"), ("nowhere", "neither a run folder nor a purifier")):
        assert main(["defend", str(runs["classifier"]), "--by", by]) == 2
        assert message in capsys.readouterr().err
