"""The command line as a user meets it: one small run through every verb."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import withstand as ws
from withstand.cli.main import VERBS, main
from withstand.core.batch import unit_range
from withstand.core.part import build
from withstand.engine.checkpoint import read_weights

SMALL = ["--width", "4", "--batch", "128", "--set", "plan.precision=float32", "plan.layout=contiguous"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cli") / "run"
    assert main(["train", "dcl", "--data", "digits", "--epochs", "2", *SMALL, "--out", str(out), "--quiet"]) == 0
    return out


def test_help_names_every_verb_and_imports_no_torch() -> None:
    code = (
        "import sys\nfrom withstand.cli.main import main\nassert main(['--help']) == 0\n"
        "assert main(['list']) == 0\nassert main(['find', 'small', 'batches']) == 0\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert all(verb in done.stdout for verb in VERBS)


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "train"])
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([verb, "--help"])
    assert stopped.value.code == 0
    out = capsys.readouterr().out
    assert f"withstand {verb}" in out
    assert "--json" in out


def test_train_help_shows_the_recipes_own_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "dcl", "--help"])
    out = capsys.readouterr().out
    assert "--temperature" in out
    assert "--weighted" in out


def test_settings_reach_the_run(run: Path) -> None:
    tree = json.loads((run / "run.json").read_text())["tree"]["init_args"]
    assert tree["plan"]["init_args"]["precision"] == "float32"
    assert tree["method"]["class_path"] == "withstand.methods.contrastive.dcl.DCL"


def test_the_same_command_again_changes_nothing(run: Path) -> None:
    before = read_weights(sorted((run / "checkpoint").glob("step-*"))[-1] / "model.safetensors")
    assert main(["train", "dcl", "--data", "digits", "--epochs", "2", *SMALL, "--out", str(run), "--quiet"]) == 0
    after = read_weights(sorted((run / "checkpoint").glob("step-*"))[-1] / "model.safetensors")
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_config_repeats_a_run_from_its_record(run: Path, tmp_path: Path) -> None:
    assert main(["train", "--config", str(run / "run.json"), "--out", str(tmp_path / "again"), "--quiet"]) == 0
    first, second = (sorted((path / "checkpoint").glob("step-*"))[-1] for path in (run, tmp_path / "again"))
    one, two = (read_weights(path / "model.safetensors") for path in (first, second))
    assert all(np.array_equal(one[name], two[name]) for name in one)


def test_show_lists_parts_and_sizes(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(run), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    method = ws.open_run(run).method
    assert facts["parts"]["encoder"] == sum(p.numel() for p in method.encoder.parameters())
    assert main(["show", "barlow-twins"]) == 0
    assert "withstand train barlow-twins" in capsys.readouterr().out


def test_embed_writes_features(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "features.npz"
    assert main(["embed", str(run), "--split", "test", "--out", str(out)]) == 0
    with np.load(out) as arrays:
        assert arrays["x"].shape == (len(arrays["y"]), 32)
        assert np.isfinite(arrays["x"]).all()


def test_attack_writes_inputs_inside_the_ball(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "attacked.npz"
    words = ["attack", str(run), "--eps", "32/255", "--steps", "5", "--samples", "16", "--out", str(out), "--json"]
    assert main(words) == 0
    facts = json.loads(capsys.readouterr().out)
    with np.load(out) as arrays:
        change = np.abs(arrays["adversarial"] - arrays["x"].astype(np.float32) / 255)
        assert change.max() <= 32 / 255 + 1e-6
        assert facts["success"] == pytest.approx(arrays["success"].mean())


def test_probe_geometry_measures_codes_layers_and_the_head(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", str(run), "--geometry", "--temperature", "0.3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"geometry", "layers"}
    assert {"uniformity", "tolerance", "alignment", "entropy of the push"} <= set(found["geometry"]["figures"])
    assert "accuracy lost in the head" in found["layers"]["figures"]
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "Push by nearness" in page
    assert "Accuracy by layer" in page


def test_audit_probes_attacks_and_reports(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["audit", str(run), "--samples", "24", "--steps", "5", "--eps", "32/255", "--corruptions", "--json"]) == 0
    )
    facts = json.loads(capsys.readouterr().out)
    assert {"knn", "linear", "audit", "corruptions", "report"} <= facts.keys()
    assert not (run / "audit.state").exists()
    assert 0 <= facts["knn"]["figures"]["accuracy"]["value"] <= 1
    page = Path(facts["report"]).read_text()
    assert "<html" in page
    assert main(["report", str(run)]) == 0


NETWORK = """
from torch import nn
from withstand.core.victims.victim import Victim

def net():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

def other():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.ReLU(), nn.Linear(10, 10))

class Rounding(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = net()

    def forward(self, x):
        return self.net((x * 16).round() / 16)

rounding = Victim(Rounding())
number = 3
"""


@pytest.mark.thorough
def test_audit_of_a_network_of_ones_own(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(NETWORK)
    monkeypatch.chdir(tmp_path)
    common = ["--data", "digits", "--samples", "20", "--steps", "4", "--ensemble", "none"]
    assert main(["audit", "mine.py:net", *common, "--surrogate", "mine.py:rounding"]) == 2
    assert "the surrogate's gradient is zero on each of 64 samples" in capsys.readouterr().err
    assert not (tmp_path / "audit-mine-py-net").exists()
    assert main(["audit", "mine.py:net", *common, "--surrogate", "mine.py:other", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["report"] == "audit-mine-py-net/report.html"
    assert "attacks on another model are weaker" in {check["name"] for check in facts["audit"]["checks"]}
    page = (tmp_path / facts["report"]).read_text()
    assert "was not trained here" in page
    assert "What was learnt" not in page
    assert main(["audit", "mine.py:rounding", *common, "--out", "masked"]) == 0
    told = capsys.readouterr().out
    assert "Not believable because " in told
    assert "by chance" in told  # nobody trained it
    assert "the gradient is zero" in told
    assert main(["certify", "mine.py:net", "--data", "digits", "--samples", "6", "--out", "proofs"]) == 0
    assert "[ok] no attack breaks what is proven" in capsys.readouterr().out
    assert "answers are proven right" in Path("proofs/report.html").read_text()
    main(["export", str(run)])
    assert main(["audit", str(run / "encoder.safetensors"), *common, "--out", "encoder", "--corruptions"]) == 0
    assert "mean accuracy under corruptions" in capsys.readouterr().out
    for words, expected in {
        "mine.py:number": "type int",
        "mine.py:nett": "'net'",
        "mine.py": "name a network in it as mine.py:NAME",
        "none.py:net": "no file none.py",
        "no_such_module:net": "no module 'no_such_module'",
        "other.safetensors": "no other.safetensors",
    }.items():
        assert main(["audit", words, *common]) == 2
        assert expected in capsys.readouterr().err
    assert main(["audit", "mine.py:net"]) == 2
    assert "--data" in capsys.readouterr().err
    assert main(["audit", "mine.py:net", *common, "--out", str(run)]) == 2
    assert "holds a run" in capsys.readouterr().err


@pytest.mark.thorough
def test_apply_writes_predictions_and_refuses_a_run_that_can_make_none(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import numpy as np

    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 256, (128, 1, 8, 8), dtype=np.uint8))
    bare = ["train", "dcl", "--data", str(tmp_path / "x.npy"), "--epochs", "1", *SMALL, "--holdout", "0", "--quiet"]
    assert main([*bare, "--out", str(tmp_path / "bare")]) == 0
    assert main(["apply", str(tmp_path / "bare")]) == 2
    assert "makes nothing of samples" in capsys.readouterr().err
    assert not (tmp_path / "bare" / "outputs").exists()
    # A run that only embeds, of data with labels, predicts by a linear probe.
    assert main(["apply", str(run), "--split", "test", "--out", str(tmp_path / "probed")]) == 0
    with (tmp_path / "probed" / "table.csv").open(newline="") as file:
        assert {row["prediction"] for row in csv.DictReader(file)} == {str(digit) for digit in range(10)}
    capsys.readouterr()
    trained = ["train", "pgd-at", "--data", "digits", "--epochs", "1", *SMALL, "--out", str(tmp_path / "robust")]
    assert main([*trained, "--quiet"]) == 0
    assert main(["apply", str(tmp_path / "robust"), "--split", "test", "--out", str(tmp_path / "out")]) == 0
    assert "outputs of 359 samples" in capsys.readouterr().out
    with (tmp_path / "out" / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    opened = ws.Run(tmp_path / "robust")
    test = opened.sources()[1]
    logits = opened.classifier()(unit_range(test[range(len(test))].x))
    assert [row["prediction"] for row in rows] == [test.classes[best] for best in logits.argmax(1).tolist()]


def test_export_gives_back_the_encoder(run: Path) -> None:
    import torch

    assert main(["export", str(run)]) == 0
    record = json.loads((run / "encoder.json").read_text())
    encoder = build(record["tree"]).eval()
    encoder.load_state_dict(read_weights(run / "encoder.safetensors"))
    x = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(encoder(x), ws.open_run(run).encoder(x))


@pytest.mark.thorough
def test_export_to_onnx_agrees_with_torch(run: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    import torch

    assert main(["export", str(run), "--form", "onnx"]) == 0
    session = onnxruntime.InferenceSession(str(run / "encoder.onnx"), providers=["CPUExecutionProvider"])
    for count in (1, 5):  # any batch size
        x = torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(count))
        with torch.no_grad():
            expected = ws.open_run(run).encoder(x).numpy()
        assert np.allclose(session.run(None, {"x": x.numpy()})[0], expected, rtol=1e-3, atol=1e-4)


def test_the_classifier_on_an_encoder_is_exported_and_audited_as_a_network(run: Path, tmp_path: Path) -> None:
    import torch

    assert main(["export", str(run), "--part", "classifier"]) == 0
    record = json.loads((run / "classifier.json").read_text())
    classifier = build(record["tree"]).eval()
    classifier.load_state_dict(read_weights(run / "classifier.safetensors"))
    x = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(classifier(x), ws.open_run(run).classifier()(x))


def test_a_part_that_a_run_does_not_give_is_refused_by_name(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(run), "--part", "generator"]) == 2
    assert "gives no generator: it gives encoder" in capsys.readouterr().err
    assert main(["export", str(run), "--part", "encodr"]) == 2
    assert "did you mean 'encoder'" in capsys.readouterr().err


def test_doctor_names_the_bottleneck(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--run", str(run), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert set(facts["milliseconds a batch"]) == {"loading", "views", "step"}
    assert {"float32 contiguous", "float32 channels-last"} <= set(facts["milliseconds a step"])
    assert facts["packages"]["torch"]
    assert {"certify", "export", "graph", "table", "timm"} <= set(facts["extras"])
    assert not {"all", "dev"} & set(facts["extras"])
    assert facts["extras"]["certify"] in ("ready", "pip install 'withstand[certify]'")


def test_doctor_says_which_verb_lacks_what(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from withstand.core import extras

    assert extras.USES.keys() == extras.extras().keys()
    assert {verb for verbs, _ in extras.USES.values() for verb in verbs} <= VERBS.keys()
    there = extras.installed
    monkeypatch.setattr(extras, "installed", lambda name: None if name in ("timm", "z3-solver") else there(name))
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"timm +pip install 'withstand\[timm\]' +--model timm:NAME", said)
    wanting = said.partition("does not find\n")[2]
    assert re.search(r"^  certify +.*certify", wanting, re.MULTILINE)
    assert re.search(r"^  train +.*timm", wanting, re.MULTILINE)
    monkeypatch.setattr("withstand.cli.verbs.doctor.installed", lambda name: None if name == "rich" else there(name))
    assert main(["doctor"]) == 1
    assert "missing: pip install rich" in capsys.readouterr().out


@pytest.mark.thorough
@pytest.mark.filterwarnings("default")
def test_photos_without_labels_go_all_the_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    folder, rng = tmp_path / "photos", np.random.default_rng(0)
    folder.mkdir()
    for place in range(24):
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(folder / f"{place}.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    words = ["train", "simclr", "--data", str(folder), "--size", "32", "--epochs", "1", "--batch", "8", "--width", "4"]
    assert main([*words, "--out", str(tmp_path / "run"), "--quiet"]) == 0
    assert capsys.readouterr().err.count("broken.jpg: cannot identify") == 1
    assert json.loads((tmp_path / "run" / "run.json").read_text())["data"]["skipped"][0][0] == "broken.jpg"
    assert main(["audit", str(tmp_path / "run"), "--samples", "5", "--steps", "3", "--ensemble", "none"]) == 0
    assert "report:" in capsys.readouterr().out
    assert main([*words, "--out", str(tmp_path / "strict"), "--strict"]) == 2
    assert "broken.jpg" in capsys.readouterr().err


@pytest.mark.thorough
@pytest.mark.filterwarnings("default")
def test_names_that_are_no_utf_8_go_all_the_way(tmp_path: Path) -> None:
    from PIL import Image

    root, rng = tmp_path / os.fsdecode(b"phot\xe9s"), np.random.default_rng(0)
    for place in range(24):
        folder = root / os.fsdecode((b"caf\xe9", b"\xff")[place % 2])
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / os.fsdecode(b"%d\xe9.png" % place), "PNG")
    run = tmp_path / os.fsdecode(b"r\xfcn")
    withstand = [sys.executable, "-m", "withstand"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8:strict"}
    for words in (
        ["train", "simclr", "--data", root, "--size", "16", "--epochs", "1", "--batch", "8", "--width", "4", "--quiet",
         "--out", run],
        ["probe", run],
        ["report", run],
        ["embed", run],
        ["embed", run, "--data", root, "--json"],
    ):  # fmt: skip
        done = subprocess.run([*withstand, *words], capture_output=True, env=environment, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
    html = (run / "report.html").read_text(encoding="utf-8")
    assert r"phot\udce9s" in html
    with np.load(run / "features-all.npz") as arrays:
        assert sorted(set(arrays["classes"])) == [r"\xff", r"caf\xe9"]
        assert arrays["names"][0] == r"caf\xe9/0\xe9.png"


def test_python_front_door(tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (64, 16, 16, 3), dtype=np.uint8)
    options = {"width": 4, "batch": 16}
    trained = ws.train("simclr", pictures, out=tmp_path / "run", epochs=1, options=options, quiet=True)
    assert trained.embed(split="test").x.shape[1] == 32
    assert {finding.name for finding in trained.probe()} >= {"gauges"}
    assert trained.report().is_file()


BAD = {
    "unknown verb": (["trian"], "train"),
    "unknown method": (["train", "dlc"], "dcl"),
    "unknown option": (["train", "dcl", "--epocs", "3"], "--epochs"),
    "wrong type": (["train", "dcl", "--epochs", "many"], "many"),
    "unknown model": (["train", "dcl", "--data", "digits", "--model", "resnt"], "resnet"),
    "unknown setting": (["train", "dcl", "--data", "digits", "--set", "method.temprature=1"], "temperature"),
    "missing path": (["train", "dcl", "--data", "no/such/folder"], "no/such/folder"),
    "unknown set": (["train", "dcl", "--data", "cifar11"], "cifar10"),
    "batch larger than the set": (["train", "dcl", "--data", "digits", "--batch", "5000"], "--batch 1438"),
    "an experiment on other data": (["train", "--config", "{run}/run.json", "--data", "digits"], "--set source"),
    "an evaluation is no training": (["train", "naive-bayes-probe"], "reproduce"),
    "no such method of proof": (["certify", "{run}", "--method", "crwn"], "crown"),
    "proof within nothing": (["certify", "{run}", "--eps", "0"], "eps above 0"),
    "proof in no time": (["certify", "{run}", "--timeout", "0"], "timeout must be above 0 seconds"),
    "a grid of all pixels": (["certify", "{run}", "--method", "grid"], "64 dimensions has 3.43e+30 points"),
    "a network that is no ONNX": (["certify", "{run}/run.json.onnx", "--data", "digits"], "run.json.onnx"),
    "an instance that is none": (["certify", "{run}/run.json", "--vnnlib", "{run}/run.json"], "not an ONNX file"),
    "a property, and a radius beside it": (
        ["certify", "net.onnx", "--vnnlib", "asked.vnnlib", "--eps", "1/255", "--method", "auto", "--samples", "100"],
        "--eps, --method, --samples would change nothing",
    ),
    "one run to compare": (["compare", "{run}"], "two runs"),
    "no run folder": (["probe", "no/such/run"], "no/such/run"),
    "no temperature without geometry": (["probe", "{run}", "--temperature", "0.1"], "belongs to --geometry"),
    "a temperature of 0": (["probe", "{run}", "--geometry", "--temperature", "0"], "must be above 0, not 0"),
    "wrong eps": (["audit", "{run}", "--eps", "eight"], "8/255"),
    "evaluation data without labels fitting": (["probe", "{run}", "--data", "no/such"], "no/such"),
    "eps in bytes": (["audit", "{run}", "--eps", "8"], "8/255"),
    "setting of a wrong type": (
        ["train", "dcl", "--data", "digits", "--set", "method.temperature=abc"],
        "must be float",
    ),
    "stray word": (["report", "{run}", "again"], "again"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_line_and_exit_code_2(
    case: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words, said = BAD[case]
    assert main([word.replace("{run}", str(run)) for word in words]) == 2
    err = capsys.readouterr().err
    assert err.startswith("withstand: error: ")
    assert err.count("\n") == 1
    assert said in err
    assert not (tmp_path / "runs").exists()


def test_another_experiment_is_refused_and_nothing_is_lost(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(path.name for path in run.rglob("*"))
    words = ["train", "simclr", "--data", "digits", "--epochs", "2", *SMALL, "--out", str(run)]
    assert main(words) == 2
    assert re.search("belongs to another experiment.*--fresh", capsys.readouterr().err)
    assert sorted(path.name for path in run.rglob("*")) == before


def test_a_config_cannot_run_foreign_code(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = json.loads((run / "run.json").read_text())
    record["tree"]["init_args"]["view"] = {"class_path": "os.system", "init_args": {"command": "touch pwned"}}
    path = tmp_path / "evil.json"
    path.write_text(json.dumps(record))
    assert main(["train", "--config", str(path), "--out", str(tmp_path / "out")]) == 2
    assert "outside withstand" in capsys.readouterr().err
    assert not Path("pwned").exists()


@pytest.mark.thorough
def test_errors_in_a_real_process_have_no_traceback(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "withstand", "train", "dcl", "--data", str(tmp_path)]
    done = subprocess.run(
        words, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
