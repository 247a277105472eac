"""A table from a CSV to a report, as a user does it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from withstand.cli.main import main

pytest.importorskip("pyarrow")
pytestmark = pytest.mark.filterwarnings("ignore:the embeddings are collapsing", "ignore:columns of people:UserWarning")

NARROW = ["--hidden", "8", "--layers", "1", "--heads", "2", "--predictor-hidden", "8", "--predictor-heads", "2"]


def people(path: Path, count: int = 120) -> Path:
    draws = np.random.default_rng(0)
    lines = ["age,job,hours,id,income"]
    for place in range(count):
        age, hours = draws.integers(18, 70), draws.integers(10, 60)
        job = ["clerk", "cook", "", "driver"][draws.integers(0, 4)]
        lines.append(f"{age},{job},{hours},P{place:06d},{'high' if age + hours > 80 else 'low'}")
    (path / "people.csv").write_text("\n".join(lines) + "\n")
    return path / "people.csv"


@pytest.mark.thorough
def test_train_probe_audit_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, out = people(tmp_path), tmp_path / "run"
    command = [
        "train", "t-jepa", "--data", str(table), "--target", "income", "--immutable", "age", "--epochs", "2",
        "--batch", "32", "--out", str(out), "--quiet", *NARROW,
    ]  # fmt: skip
    assert main(command) == 0
    record = json.loads((out / "run.json").read_text())
    schema = record["tree"]["init_args"]["method"]["init_args"]["encoder"]["init_args"]["schema"]["init_args"]
    assert [column["init_args"]["name"] for column in schema["columns"]] == ["age", "hours", "job"]
    assert record["data"]["skipped"] == [["id", schema["left_out"][0][1]]]
    assert main(command) == 0  # the same again returns at once
    assert main(["audit", str(out), "--samples", "20", "--steps", "2", "--ensemble", "none", "--eps", "0.1"]) == 0
    found = json.loads((out / "findings" / "columns.json").read_text())
    assert found["tables"]["importance of columns"]["rows"]
    heads = json.loads((out / "findings" / "table-heads.json").read_text())
    assert "accuracy, boosting on raw columns" in heads["figures"]
    report = (out / "report.html").read_text(encoding="utf-8")
    assert "importance of columns" in report.lower()
    # Other rows are coded by the schema of the run.
    few = tmp_path / "few.csv"
    few.write_text("age,job,hours\n200,pilot,30\n20,cook,\n30,clerk,40\n50,cook,20\n60,cook,11\n")
    assert main(["embed", str(out), "--data", str(few), "--out", str(tmp_path / "f.npz")]) == 0
    assert np.load(tmp_path / "f.npz")["x"].shape[1] == 4 * 8
    capsys.readouterr()


@pytest.mark.thorough
def test_ten_rows_are_probed_by_what_is_possible(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, data = tmp_path / "run", str(people(tmp_path, 10))
    told = ["--data", data, "--target", "income", "--ignore", "id", "--epochs", "1", "--out", str(out), "--quiet"]
    assert main(["train", "t-jepa", *told, *NARROW]) == 0
    assert main(["probe", str(out)]) == 0
    said = capsys.readouterr().out
    assert "all 10 rows with an answer are judged by heads fitted to the others" in said
    assert "accuracy, linear on features" in said
    columns = json.loads((out / "findings" / "columns.json").read_text())
    assert columns["protocol"]["test rows"] == 10


def test_how_a_file_was_read_is_told_before_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, out = tmp_path / "story.csv", tmp_path / "run"
    rows = [f"the tale of {row};{row},5;{row / 4:g}\n" for row in range(0, 160, 4)]
    table.write_text("name;2019;2020\n" + "".join(rows))
    command = ["train", "t-jepa", "--data", str(table), "--epochs", "1", "--batch", "8", "--out", str(out), *NARROW]
    assert main(command) == 0
    told = capsys.readouterr().err
    assert "warning" not in told
    lines = [line.strip() for line in told.splitlines()]
    assert "32 of the table's 40 rows are learnt from, 8 are kept to judge by" in lines
    assert any(line.startswith("numeric (2): 2019 (") and " to 156.5), 2020 (" in line for line in lines)
    assert any(line.startswith("left out (1): name (free text, such as 'the tale of ") for line in lines)
    line = next(line for line in told.splitlines() if line.startswith("data: story, 32 rows"))
    assert "semicolon-separated; the first line names the columns; decimal commas in '2019'" in line
    assert told.index(line) < told.index("epoch 1/1")
    assert main([*command, "--fresh", "--no-header", "--quiet"]) == 0
    described = json.loads((out / "run.json").read_text())["data"]["origin"]
    assert "no header: columns are numbered" in described
    assert main([*command, "--fresh", "--header", "--delimiter", ",", "--quiet"]) == 2


@pytest.mark.thorough
def test_a_number_to_predict(tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert main(["train", "t-jepa", "--data", "diabetes", "--epochs", "1", "--out", str(out), "--quiet", *NARROW]) == 0
    assert main(["probe", str(out)]) == 0
    figures = json.loads((out / "findings" / "table-heads.json").read_text())["figures"]
    assert 40 < figures["RMSE, linear on raw columns"]["value"] < 80


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small runs: with classes to predict, with a number, with nothing."""
    folder = tmp_path_factory.mktemp("runs")
    table = str(people(folder))
    targets = {"classes": ["--target", "income"], "number": ["--target", "hours"], "nothing": ["--ignore", "income"]}
    for name, words in targets.items():
        command = ["train", "t-jepa", "--data", table, "--epochs", "1", "--batch", "32", "--out", str(folder / name)]
        assert main([*command, "--quiet", *NARROW, *words]) == 0
    return {name: folder / name for name in targets}


VERBS = {
    "embed": "",
    "probe": "",
    "attack --steps 2 --samples 6": "",
    "attack --attack square --steps 5 --samples 6": "",
    "audit --steps 2 --samples 6 --ensemble none": "",
    "audit --corruptions": "classes number nothing: corruptions are of pictures",
    "certify --samples 2": "classes: only a fixed graph can be certified; number nothing: the data have none",
    "defend": "classes: no pictures; number nothing: the data have none",
    "report": "",
    "export": "",
}
"""Verbs, and the line with which they refuse which runs."""


@pytest.mark.thorough
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("name", ["classes", "number", "nothing"])
def test_every_verb_works_or_says_in_one_line_why_not(
    runs: dict[str, Path], verb: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = [part.partition(": ") for part in VERBS[verb].split("; ")]
    refused = next((text for names, _, text in parts if name in names.split()), None)
    first, *rest = verb.split()
    code = main([first, str(runs[name]), *rest])
    told = capsys.readouterr().err
    assert code == (0 if refused is None else 2), told
    if refused is not None:
        assert refused in told
        assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--target", "incme"], "did you mean 'income'"),
        (["--kinds", "age:numeric"], "COLUMN=KIND"),
        (["--delimiter", ";"], "comma-separated"),
        (["--immutable", "id"], "is not learnt from"),
        (["--min-context", "0.9", "--max-context", "0.9"], "too few"),
    ],
)
def test_mistakes_get_one_line(
    tmp_path: Path, words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "t-jepa", "--data", str(people(tmp_path)), "--out", str(tmp_path / "run"), *words]
    assert main(command) == 2
    told = capsys.readouterr().err
    assert expected in told
    assert told.count("\n") == 1


def test_later_rows_are_embedded_and_predicted_by_their_ids(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    later = tmp_path / "later.csv"
    later.write_text("age,job,hours,id,income\n30,pilot,20,x1,\n60,cook,50,x2,\n60,clerk,50,x3,\n")
    features = tmp_path / "f.npz"
    assert main(["embed", str(runs["classes"]), "--data", str(later), "--id", "id", "--out", str(features)]) == 0
    assert "job: 1 value(s) that training did not have, such as 'pilot'" in capsys.readouterr().out
    assert list(np.load(features)["names"]) == ["x1", "x2", "x3"]
    told = {}
    for name in ("classes", "number"):
        out = tmp_path / name
        assert main(["apply", str(runs[name]), "--data", str(later), "--id", "id", "--out", str(out)]) == 0
        assert "job: 1 value(s) that training did not have" in capsys.readouterr().out
        lines = (out / "table.csv").read_text().splitlines()
        told[name] = {line.split(",")[0]: line.split(",")[1:] for line in lines}
    assert told["classes"]["name"] == ["prediction", "probability", "probability of high", "probability of low"]
    assert told["classes"]["x2"][0] == "high"
    assert float(told["classes"]["x2"][2]) + float(told["classes"]["x2"][3]) == pytest.approx(1)
    assert set(told["number"]) == {"name", "x1", "x2", "x3"}
    assert 0 < float(told["number"]["x2"][0]) < 80
    assert main(["embed", str(runs["classes"]), "--data", str(later), "--id", "no", "--out", str(features)]) == 2
    assert "id 'no' is no column of later" in capsys.readouterr().err
    assert main(["apply", str(runs["nothing"]), "--out", str(tmp_path / "nothing")]) == 2
    assert "makes nothing of samples to write" in capsys.readouterr().err


def test_attacked_rows_are_rows_and_radii_are_the_columns(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = runs["classes"], tmp_path / "a.npz"
    assert main(["attack", str(run), "--samples", "6", "--steps", "2", "--out", str(out)]) == 0
    assert "Linf 5%" in capsys.readouterr().out
    pandas = pytest.importorskip("pandas")
    attacked, clean = pandas.read_csv(tmp_path / "a.csv"), pandas.read_csv(run.parent / "people.csv")
    before = clean.iloc[attacked["(index)"]].reset_index(drop=True)
    learnt = json.loads((run / "run.json").read_text())["tree"]["init_args"]["method"]["init_args"]["encoder"]
    spans = {
        column["init_args"]["name"]: column["init_args"]["high"] - column["init_args"]["low"]
        for column in learnt["init_args"]["schema"]["init_args"]["columns"]
    }
    assert (attacked["(label)"] == before["income"]).all()
    for name in ("age", "hours"):
        moved = (attacked[name] - before[name]).abs()
        assert 0 < moved.max() <= 0.05 * spans[name] + 1e-2
    assert (attacked["job"].fillna("") == before["job"].fillna("")).all()
    found = audited(run)
    assert "255" not in json.dumps([found["figures"], found["checks"], found["tables"]])
    assert "robust accuracy, linf 5 %" in found["figures"]
    assert [row[0] for row in found["tables"]["the radius in each column"]["rows"]] == ["age", "hours"]


def audited(run: Path) -> dict[str, Any]:
    if not (run / "findings" / "audit.json").exists():
        assert main(["audit", str(run), "--steps", "2", "--samples", "6", "--ensemble", "none"]) == 0
    return json.loads((run / "findings" / "audit.json").read_text())
