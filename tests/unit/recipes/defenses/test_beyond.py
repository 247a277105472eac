"""BEYOND's recipe and `withstand defend`, on a few digits."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from withstand.claims.defenses import beyond as claimed
from withstand.claims.protocol.claim import Budget
from withstand.claims.protocol.compare import compare
from withstand.cli.main import main
from withstand.core.errors import ConfigError
from withstand.core.findings.finding import Finding
from withstand.data.arrays.source import ArraySource
from withstand.engine.experiment import Experiment
from withstand.engine.launch import train
from withstand.recipes.contrastive import simclr
from withstand.recipes.defenses import beyond
from withstand.recipes.robust import pgd_at

TINY = {"data": "digits", "width": 2, "epochs": 1, "batch": 256}
JUDGE = replace(claimed.JUDGE, samples=20, calibration=20, known=4, steps=2, attacks=("pgd",))


@pytest.mark.thorough
def test_the_claim_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    made = claimed.claim()

    def pair(seed: int) -> tuple[Experiment, Experiment]:
        guarded, encoder = (module.experiment(replace(module.SETUP, **TINY, seed=seed)) for module in (pgd_at, simclr))
        return guarded, encoder

    monkeypatch.setattr(claimed, "JUDGE", JUDGE)
    monkeypatch.setattr(claimed, "NEIGHBOURS", 3)
    monkeypatch.setattr(claimed, "RANK", 2)
    found = compare(replace(made, arms={claimed.ARM: pair}), Budget(least=2, most=2))
    assert all(0 <= value <= 1 for values in found.pairs for value in values)
    finding = found.finding("beyond")
    names = ("seed", "attack", "deceived", "BEYOND", "untrained encoder", "max-softmax", "kNN", "Mahalanobis")
    assert finding.tables["AUROC by detector"].columns == names
    assert set(finding.tables["attacks"].column("seed")) == {0, 1}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("runs")
    for module, path in ((simclr, "encoder"), (pgd_at, "classifier")):
        made = module.experiment(replace(module.SETUP, **TINY))
        plan = replace(made.plan, precision="float32", layout="contiguous")
        train(replace(made, plan=plan), folder / path, quiet=True)
    return folder / "encoder", folder / "classifier"


QUICK = ["--samples", "20", "--known", "4", "--steps", "2", "--neighbours", "3", "--rank", "2", "--attacks", "fgsm"]


def test_defend_guards_another_runs_classifier(runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    encoder, classifier = runs
    assert main(["defend", str(encoder), "--classifier", str(classifier), *QUICK, "--eps", "0.1", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert "clean accuracy with rejection" in facts["figures"]
    assert [check["passed"] for check in facts["checks"] if "own" in check["name"]] == [True]
    finding = Finding.load(encoder / "findings" / "detection.json")
    assert finding.tables["attacks"].column("attack")[0] == "FGSM"
    report = (encoder / "report.html").read_text(encoding="utf-8")
    assert "ROC by attack" in report
    assert "Detection" in report


def test_a_classifier_in_another_order_is_guarded_by_its_classes_names(
    runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder, classifier = runs
    (tmp_path / "turned.py").write_text(
        f"""
from torch import nn
import withstand as ws

class Turned(nn.Module):
    def __init__(self):
        super().__init__()
        run = ws.open_run({str(classifier)!r})
        self.network, self.classes = run.classifier(), run.classes[::-1]

    def forward(self, x):
        return self.network(x).flip(1)
""",
        encoding="utf-8",
    )
    clean = []
    for place in (str(classifier), f"{tmp_path / 'turned.py'}:Turned"):
        assert main(["defend", str(encoder), "--classifier", place, *QUICK, "--eps", "0.1", "--json"]) == 0
        clean.append(json.loads(capsys.readouterr().out)["figures"]["clean accuracy"])
    assert clean[0] == clean[1]


def test_defend_says_that_one_network_for_both_is_weak(
    runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["defend", str(runs[0]), *QUICK, "--no-adaptive", "--combine", "counts"]) == 0
    text = capsys.readouterr().out
    assert "[FAILED] the detector's encoder is not the classifier's own" in text
    assert "[not judged] attacks that know the defense" in text


def test_what_is_refused(runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    for words, message in (
        (["--attacks", "pgdd"], "did you mean 'pgd'"),
        (["--eps", "8"], "did you mean 8/255"),
        (["--rank", "60"], "rank must lie between 1 and the 50"),
        (["--classifier", "nowhere"], "no network"),
    ):
        assert main(["defend", str(runs[0]), *words]) == 2
        assert message in capsys.readouterr().err
    rows = ArraySource(np.zeros((9, 4), dtype=np.float32), np.arange(9) % 2)
    method = simclr.experiment(replace(simclr.SETUP, **TINY)).method
    with pytest.raises(ConfigError, match="give a view"):
        beyond.detector(method, rows, method.encoder)
