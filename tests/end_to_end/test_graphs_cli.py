"""A graph from an edge list to a report, as a user does it."""

import json
from pathlib import Path

import numpy as np
import pytest

from withstand.cli.main import main

pytestmark = pytest.mark.filterwarnings("ignore:the embeddings are collapsing")


def network(path: Path, count: int = 40) -> Path:
    """Two groups of people; most friends are of one's own, and features tell a little of the group."""
    draws = np.random.default_rng(0)
    group = np.arange(count) % 2
    nodes = ["id,age,hours,label"]
    nodes += [f"p{place},{20 + 10 * group[place] + draws.integers(0, 15)},{draws.random():.2f},{'xy'[group[place]]}"
              for place in range(count)]  # fmt: skip
    edges = ["source,target"]
    for place in range(count):
        for _ in range(3):
            side = group[place] if draws.random() < 0.9 else 1 - group[place]
            edges.append(f"p{place},p{draws.integers(0, count // 2) * 2 + side}")
    (path / "friends.nodes.csv").write_text("\n".join(nodes) + "\n")
    (path / "friends.csv").write_text("\n".join(edges) + "\n")
    return path / "friends.csv"


def test_train_probe_audit_report(tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [
        "train", "graphmae", "--data", str(network(tmp_path)), "--epochs", "3", "--hidden", "8", "--out", str(out),
        "--quiet",
    ]  # fmt: skip
    assert main(command) == 0
    record = json.loads((out / "run.json").read_text())
    assert "self-loop(s) given" in record["data"]["origin"] or "duplicate edge(s) dropped" in record["data"]["origin"]
    assert main(command) == 0  # the same again returns at once
    assert main(["audit", str(out)]) == 0
    names = {file.stem for file in (out / "findings").glob("*.json")}
    assert {"linear", "audit", "map"} <= names, names
    report = (out / "report.html").read_text(encoding="utf-8").lower()
    for wanted in ("edge", "map", "untrained control"):
        assert wanted in report, wanted


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("source,target\np1,p2,p3\n", "line 2, has 3 fields where 2 are expected"),
        ("source,target\np1,stranger\n", "names the node 'stranger'"),
        ("source%target\np1%p2\n", "1 column"),
    ],
)
def test_mistakes_get_one_line(tmp_path: Path, change: str, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    network(tmp_path).write_text(change)
    assert main(["train", "graphmae", "--data", str(tmp_path / "friends.csv"), "--out", str(tmp_path / "run")]) == 2
    told = capsys.readouterr().err
    assert expected in told
    assert told.count("\n") == 1
