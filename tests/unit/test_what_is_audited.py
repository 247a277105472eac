"""What was given is what is audited, certified and counted, and a finding can be told apart from others later."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import withstand as ws
from victims import Scored, random_pictures, small_net
from withstand.attacks.autoattack.ensemble import AttackProgress
from withstand.cli.main import main
from withstand.core.errors import ConfigError, DataError, RunError
from withstand.core.findings.finding import Finding
from withstand.core.roles import Model
from withstand.core.victims.victim import Victim
from withstand.data.arrays.source import ArraySource
from withstand.data.derived.subset import Subset
from withstand.data.load import Data, judged
from withstand.engine.folder import RunFolder
from withstand.evaluation.robustness.audit import RobustnessAudit
from withstand.evaluation.robustness.corruptions import CorruptionBench

QUICK: dict[str, Any] = {"steps": 2, "ensemble": "none"}


def rows(count: int = 30) -> tuple[Tensor, Tensor]:
    x = torch.rand(count, 12, generator=torch.Generator().manual_seed(1))
    return x, (Scored().worst(x, torch.ones(count, dtype=torch.int64), 0.0) > 0).long()


def picture_folder(path: Path) -> Path:
    for place in range(30):
        folder = path / "ab"[place % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((6, 6, 3), place, np.uint8)).save(folder / f"{place}.png")
    return path


def everything(path: Path) -> dict[str, Data]:
    """Return thirty samples in every form that data are handed over in."""
    x, y = rows()
    np.savez(path / "pair.npz", x=x.numpy(), y=y.numpy())
    np.save(path / "bare.npy", x.numpy())
    lines = [f"{left:.6f},{right:.6f},{label}" for (left, right), label in zip(x[:, :2].tolist(), y.tolist())]  # noqa: B905
    (path / "table.csv").write_text("\n".join(["left,right,label", *lines]))
    return {
        "a pair of tensors": (x, y),
        "a pair of arrays": (x.numpy(), y.numpy()),
        "a tensor": x,
        "a source": ArraySource(x, y),
        "part of a source": Subset(ArraySource(torch.cat([x, x]), torch.cat([y, y])), torch.arange(30)),
        "a dataset": TensorDataset(x, y),
        "a file of both": path / "pair.npz",
        "a file": str(path / "bare.npy"),
        "a table": path / "table.csv",
        "a folder": picture_folder(path / "pictures"),
    }


def test_everything_that_is_given_is_judged(tmp_path: Path) -> None:
    for name, data in everything(tmp_path).items():
        assert len(judged(data)) == 30, name


def test_of_data_that_come_in_parts_the_test_part_is_judged(tmp_path: Path) -> None:
    x, y = rows()
    np.savez(tmp_path / "parts.npz", x_train=x[:20], y_train=y[:20], x_test=x[20:], y_test=y[20:])
    assert torch.equal(judged(tmp_path / "parts.npz")[range(10)].x, x[20:])
    assert len(judged("digits")) == 359
    picture_folder(tmp_path / "both" / "train")
    picture_folder(tmp_path / "both" / "test" / "more")
    with pytest.raises(DataError, match="a pair of samples and labels, not of 3"):
        judged((x, y, y))  # type: ignore[arg-type]


def test_a_test_part_without_labels_is_told_when_the_training_part_is_judged_in_its_place(tmp_path: Path) -> None:
    picture_folder(tmp_path / "train")
    picture_folder(tmp_path / "loose")
    (tmp_path / "test").mkdir()
    for place, path in enumerate(sorted((tmp_path / "loose").rglob("*.png"))):
        path.rename(tmp_path / "test" / f"{place}.png")
    shutil.rmtree(tmp_path / "loose")
    with pytest.warns(UserWarning, match="no labels in test, so that the training part is judged, which a network may"):
        assert judged(tmp_path).labels is not None


@pytest.mark.parametrize("face", [ws.audit, ws.certify])
def test_counts_are_told(face: Any, tmp_path: Path) -> None:
    x, y = rows()
    more = QUICK if face is ws.audit else {"timeout": 1.0}
    finding = face(Scored().eval(), (x, y), samples=1000, **more)
    assert [finding.protocol[f"samples{word}"] for word in ("", " given", " asked for")] == [30, 30, 1000]
    assert finding.about == "all 30 samples of data (1,000 were asked for)"
    assert face(Scored().eval(), (x, y), samples=8, **more).about == "8 of 30 samples of data"


class Encoder(Model):
    width = 12

    def forward(self, x: Tensor) -> Tensor:
        return x * 2


def test_an_encoder_needs_other_samples_for_its_probe() -> None:
    finding = ws.audit(Encoder(), rows(60), **QUICK)
    assert finding.about == "all 12 samples of data (500 were asked for)"
    assert finding.protocol["probe"] == "linear, on the network's features, fitted to 48 other samples of data"
    assert "probe" not in ws.audit(Scored(), rows(60), **QUICK).protocol
    assert ws.audit(Encoder(), rows(60)[0], **QUICK).about.startswith("all 60 samples")


def test_one_clean_accuracy_in_one_report() -> None:
    (x, y), victim = random_pictures(40, 3), Victim(small_net(5, 3).eval())
    source = ArraySource(x.mul(255).round().to(torch.uint8), y)
    bench = CorruptionBench(kinds=("fog",), severities=(1,), samples=30).evaluate(victim, source)
    audit = RobustnessAudit(linf=(), l2=(), samples=30, steps=1, ensemble="none", pictures=0).evaluate(victim, source)
    for key in ("split", "inputs", "labels", "weights", "data"):
        assert bench.protocol[key] == audit.protocol[key]
    assert bench.numbers["clean accuracy"] == audit.numbers["clean accuracy"]


def test_findings_hold_digests_of_weights_and_samples() -> None:
    x, y = rows()
    model, other = Scored(), Scored()
    with torch.no_grad():
        other.layer.bias.add_(1e-6)
    moved = x.clone()
    moved[3, 3] = 0.5
    cases = {"same": (model, x, y), "weights": (other, x, y), "inputs": (model, moved, y), "labels": (model, x, 1 - y)}
    audit = RobustnessAudit(linf=(), l2=(), steps=1, ensemble="none", pictures=0)
    first, *found = (audit.evaluate(net, ArraySource(*data)) for net, *data in [(model, x, y), *cases.values()])
    for (name, _), finding in zip(cases.items(), found, strict=True):
        differ = {key for key in ("weights", "inputs", "labels") if finding.protocol[key] != first.protocol[key]}
        assert differ == {name} - {"same"}
    hidden = nn.Sequential(model)
    hidden.register_buffer("table", torch.zeros(2), persistent=False)
    digest = audit.evaluate(hidden, ArraySource(x, y)).protocol["weights"]
    hidden.table.add_(1)
    assert audit.evaluate(hidden, ArraySource(x, y)).protocol["weights"] != digest


def test_a_folder_of_findings_keeps_to_its_data_and_to_one_network(tmp_path: Path) -> None:
    x, y = rows()
    model = Scored().eval()
    ws.audit(model, (x, y), out=tmp_path / "out", **QUICK)
    ws.certify(model, (x, y), out=tmp_path / "out", samples=4, timeout=1.0)
    folder = RunFolder(tmp_path / "out")
    assert {finding.name for finding in folder.findings()} == {"audit", "certificate"}
    with pytest.raises(RunError, match="holds findings on other data, data: name another folder"):
        ws.audit(model, (x[:20], y[:20]), out=tmp_path / "out", **QUICK)
    with pytest.raises(RunError, match="other data"):
        ws.audit(model, (x, 1 - y), out=tmp_path / "out", **QUICK)
    with pytest.raises(RunError, match="other data"):
        ws.certify(model, (x, 1 - y), out=tmp_path / "out", samples=4, timeout=1.0)
    assert {finding.name for finding in folder.findings()} == {"audit", "certificate"}
    with torch.no_grad():
        model.layer.bias.add_(0.01)
    ws.audit(model, (x, y), out=tmp_path / "out", **QUICK)
    assert [finding.name for finding in folder.findings()] == ["audit"]


def test_corruptions_that_cannot_be_counted_are_told_before_the_audit(tmp_path: Path) -> None:
    (x, y), net = random_pictures(20, 3), small_net(5, 3).eval()
    with pytest.raises(ConfigError, match="kept in a folder: name one by out"):
        ws.audit(net, (x, y), corruptions=True, **QUICK)
    with pytest.raises(DataError, match="needs labels, and the data have none"):
        ws.audit(net, x, corruptions=True, out=tmp_path / "out", **QUICK)
    with pytest.raises(DataError, match="of pictures, and a sample of these data is a "):
        ws.audit(Scored(), rows(), corruptions=True, out=tmp_path / "out", **QUICK)
    assert not (tmp_path / "out").exists()


def test_progress_begins_with_the_first_attack() -> None:
    told: list[AttackProgress] = []
    ws.audit(Scored(), rows(), steps=2, progress=told.append)
    names = list(dict.fromkeys(now.attack for now in told))
    assert names[:3] == ["noise", "PGD, cross-entropy", "PGD, margin"]
    assert "checks" in names
    assert told[0].where == "linf 1/255"
    assert told[0].remaining == torch.inf
    assert all(0 <= now.done <= now.queue <= 30 and now.remaining >= 0 for now in told)


INTERRUPTED = """
from pathlib import Path
from beside import make, PLACE

class Stopped(type(make())):
    calls = 0
    def forward(self, x):
        Stopped.calls += 1
        stop = PLACE.read_text() if PLACE.exists() else ""
        if stop == "early" and self.calls > 6 or stop == "late" and Path("out/audit.state").exists():
            raise KeyboardInterrupt
        return super().forward(x)

def net():
    return Stopped()
"""


def test_an_interrupted_audit_says_what_is_left_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "beside.py").write_text(
        "from pathlib import Path\nfrom victims import Scored\nPLACE = Path('stop')\ndef make():\n    return Scored()\n"
    )
    (tmp_path / "mine.py").write_text(INTERRUPTED)
    x, y = Scored().inputs(4 / 255)
    np.savez("data.npz", x=x.numpy(), y=y.numpy())
    words = ["audit", "mine.py:net", "--data", "data.npz", "--steps", "2", "--eps", "2/255", "--out", "out"]
    Path("stop").write_text("early")
    assert main(words) == 130
    assert "interrupted; nothing of the audit was kept: the same command starts it over" in capsys.readouterr().err
    Path("stop").write_text("late")
    assert main(words) == 130
    assert "goes on with AutoAttack where it was" in capsys.readouterr().err
    Path("stop").unlink()
    assert main(words) == 0
    assert not Path("out/audit.state").exists()
    resumed = Finding.load(Path("out/findings/audit.json"))
    whole = ws.audit(Scored(), "data.npz", steps=2, eps="2/255")
    assert resumed.numbers == whole.numbers
