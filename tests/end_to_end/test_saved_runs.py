"""What was saved by the commit before rooms and arguments moved still opens, resumes and reports.

`tests/saved/` holds a run of `withstand train pgd-at --data digits --width 1 --batch 128 --epochs 2` in float32, as if
killed before its last step, its findings, its weights after that step, and the export of an encoder.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import withstand as ws
from toys import weights
from withstand.cli.main import main
from withstand.core.part import build

SAVED = Path(__file__).parent.parent / "saved"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    shutil.copytree(SAVED / "run", tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.filterwarnings("default:.*is trained further")
def test_the_same_command_goes_on_where_it_stopped(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "pgd-at", "--data", "digits", "--width", "1", "--batch", "128", "--epochs", "2"]
    numerics = ["--set", "plan.precision=float32", "plan.layout=contiguous"]
    assert main([*command, *numerics, "--out", str(run), "--quiet"]) == 0
    assert "trained further: its findings on the run after 21 steps" in capsys.readouterr().err
    found, expected = weights(run), load_file(SAVED / "step-22.safetensors")
    kept = {name: value for name, value in expected.items() if name not in ("steps", "epoch")}
    assert found.keys() == kept.keys()
    for name, value in kept.items():  # equal to the bit on the machine that saved it; kernels differ in rounding
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5, msg=name)
    lines = (run / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["step"] == 22
    assert json.loads((run / "run.json").read_text())["status"] == "finished"


def test_it_opens_embeds_and_reports_with_its_findings(run: Path) -> None:
    opened = ws.open_run(run)
    assert opened.embed().x.shape[0] == 1797
    text = opened.report().read_text(encoding="utf-8")
    assert "Plotly" in text
    assert "AutoAttack" in text
    assert {finding.name for finding in opened.folder.findings()} >= {"audit", "knn", "linear"}


def test_an_export_is_built_from_its_description() -> None:
    described = json.loads((SAVED / "encoder.json").read_text())
    encoder = build(described["tree"])
    encoder.load_state_dict(load_file(SAVED / "encoder.safetensors"))
    with torch.no_grad():
        features = encoder.eval()(torch.from_numpy(np.linspace(0, 1, 64, dtype=np.float32)).view(1, 1, 8, 8))
    assert features.shape == (1, described["width"])
    assert features.isfinite().all()
