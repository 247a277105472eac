"""A graph from an edge list to a report, as a user does it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from withstand.api.front import open_run, train
from withstand.cli.main import main
from withstand.core.findings.finding import Finding

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


def company(path: Path, count: int = 60) -> tuple[Path, Path]:
    """Three teams that mail each other, told by a table of words, numbers and gaps, with a column for the split."""
    draws = np.random.default_rng(1)
    team = np.arange(count) % 3
    nodes = ["person,team,age,city,part"]
    for place in range(count):
        age = "" if place % 10 == 9 else 25 + 5 * team[place] + draws.integers(0, 9)
        city = ["Bonn", "Ulm", "Kiel", ""][draws.integers(0, 4)]
        part = ["train", "train", "validation", "test"][place // 3 % 4]
        nodes.append(f"p{place},{['R&D', 'Sales', 'Law'][team[place]]},{age},{city},{part}")
    mails = ["from,to,mails,since"]
    for place in range(count):
        for _ in range(4):
            side = team[place] if draws.random() < 0.9 else draws.integers(0, 3)
            mails.append(f"p{place},p{draws.integers(0, count // 3) * 3 + side},{draws.integers(1, 30)},2020")
    (path / "people.csv").write_text("\n".join(nodes) + "\n")
    (path / "mails.csv").write_text("\n".join(mails) + "\n")
    return path / "mails.csv", path / "people.csv"


@pytest.mark.parametrize("method", ["graphmae", "selftask"])
def test_a_table_of_nodes_with_words_gaps_weights_and_a_split(
    method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edges, nodes = company(tmp_path)
    out = tmp_path / "run"
    command = ["train", method, "--data", str(edges), "--nodes", str(nodes), "--target", "team", "--split", "part"]
    command += ["--edge-weight", "mails", "--epochs", "30" if method == "selftask" else "2", "--hidden", "8"]
    assert main([*command, "--out", str(out)]) == 0
    told = capsys.readouterr().err
    wanted = ["weights in 'mails'", "1 other column(s) not used: 'since'", "categorical (1): city (3"]
    wanted += ["numeric (1): age (25 to", "target: team, 3 classes (Law 20, R&D 20, Sales 20)", "brought to 0 to 1"]
    for line in [*wanted, "weights of edges count, those of an edge's two ways added"]:
        assert line in told, line
    record = json.loads((out / "run.json").read_text())
    assert "60 nodes" in record["data"]["origin"]
    run = open_run(out)
    _, test = run.sources()
    assert [test.source.names[row] for row in test.rows.tolist()[:3]] == ["p9", "p10", "p11"]  # type: ignore[attr-defined]
    if method == "selftask":
        (edges.with_name("later.csv")).write_text(edges.read_text())
        (edges.with_name("later.nodes.csv")).write_text(nodes.read_text())
        again = run.embed(str(edges.with_name("later.csv")))
        assert again.names == run.embed().names
        assert not np.isnan(again.x.numpy()).any()


def test_a_folder_of_graphs_and_a_list_of_them(tmp_path: Path) -> None:
    networkx = pytest.importorskip("networkx")
    data = pytest.importorskip("torch_geometric.data").Data
    graphs, drawn = [], []
    for place in range(12):
        where = tmp_path / "rings" / ["ring", "path"][place % 2]
        where.mkdir(parents=True, exist_ok=True)
        graphs.append([networkx.cycle_graph, networkx.path_graph][place % 2](4 + place % 3))
        networkx.set_node_attributes(graphs[-1], {node: "CN"[node % 2] for node in graphs[-1]}, "atom")
        networkx.write_graphml(graphs[-1], where / f"{place:02}.graphml")
        ends = torch.tensor(list(graphs[-1].edges())).t()
        drawn.append(data(x=torch.eye(8)[: 4 + place % 3], edge_index=ends, y=torch.tensor([place % 2])))
    command = ["train", "graphmae", "--data", str(tmp_path / "rings"), "--out", str(tmp_path / "run"), "--quiet"]
    assert main([*command, "--epochs", "1", "--hidden", "8"]) == 0
    features = open_run(tmp_path / "run").embed()
    assert features.names[0] == "path/01.graphml"
    assert features.classes == ("path", "ring")
    for name, given, said in (("networkx", graphs, {"features": ("atom",)}), ("pyg", drawn, {})):
        options = {"hidden": 8, **said}
        run = train("graphmae", given, out=tmp_path / name, epochs=1, quiet=True, options=options)  # type: ignore[arg-type]
        assert len(run.embed()) == 12


def test_help_speaks_of_graphs(capsys: pytest.CaptureFixture[str]) -> None:
    for method, words in {"graphmae": "an edge list", "selftask": "cora, citeseer, pubmed, or a graph"}.items():
        with pytest.raises(SystemExit):
            main(["train", method, "--help"])
        told = " ".join(capsys.readouterr().out.split())
        assert words in told
        assert "a folder of pictures" not in told


@pytest.mark.thorough
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


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small runs: on a graph with labels, on one without, and on a set of graphs."""
    folder = tmp_path_factory.mktemp("runs")
    network(folder)
    (folder / "bare.csv").write_text((folder / "friends.csv").read_text())
    draws = np.random.default_rng(0)
    member = np.arange(24).repeat(5)
    ends = draws.integers(0, 5, (2, 120)) + 5 * member
    np.savez(
        folder / "set.npz", edge_index=ends, graph_id=member, node_label=draws.integers(0, 3, 120), y=np.arange(24) % 2
    )
    found = {}
    for name, file in {"labelled": "friends.csv", "bare": "bare.csv", "set": "set.npz"}.items():
        found[name] = folder / name
        command = ["train", "graphmae", "--data", str(folder / file), "--out", str(found[name]), "--epochs", "1"]
        assert main([*command, "--hidden", "8", "--quiet"]) == 0
    return found


VERBS = {
    "embed": "",
    "probe": "",
    "attack --steps 2 --samples 6": "set: these samples are whole graphs",
    "attack --attack fgsm --eps 0.1": "bare: no gradient on the clean input; set: these samples are whole graphs",
    "attack --attack square": "labelled bare: attacked together by pgd, bim, fgsm, noise; set: whole graphs",
    "audit --steps 2 --samples 6": "bare: labelled nodes have an; set: takes samples, seed: steps is set",
    "audit --samples 4": "bare: labelled nodes have an",
    "audit --corruptions": "labelled bare set: corruptions are of pictures",
    "certify": "labelled bare set: certificates bound networks whose samples are one tensor each",
    "defend": "labelled set: no pictures; bare: the data have none",
    "report": "",
    "export": "",
    "export --form onnx": "labelled bare set: use the form safetensors",
}
"""Verbs, and the line with which they refuse which runs."""


@pytest.mark.thorough
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("name", ["labelled", "bare", "set"])
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


@pytest.mark.thorough
def test_radius_and_norm_of_a_graphs_audit_are_said(runs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["audit", str(runs["labelled"]), "--steps", "1", "--samples", "6"]
    assert main([*asked, "--norm", "linf", "--eps", "15%"]) == 0
    found = Finding.load(runs["labelled"] / "findings" / "audit.json")
    assert found.tables["features"].column("eps") == (0.05, 0.1, 0.15)
    assert "linf" in str(found.headline)
    assert main([*asked, "--eps", "0.4", "0.3"]) == 0
    found = Finding.load(runs["labelled"] / "findings" / "audit.json")
    assert found.tables["features"].column("eps") == (0.3, 0.4)
    assert "l2" in str(found.headline)
    capsys.readouterr()
    for words, message in ((["--eps", "0"], "eps must be positive"), (["--norm", "l1"], "norm must be 'linf' or 'l2'"),
                           (["--search", "fast"], "takes norm, eps, samples, steps, seed: search is set")):  # fmt: skip
        assert main([*asked, *words]) == 2
        assert message in capsys.readouterr().err


def test_a_dataset_of_torch_geometric_is_learnt_from(tmp_path: Path) -> None:
    data = pytest.importorskip("torch_geometric.data")

    class One(data.InMemoryDataset):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__(None)
            draws = torch.Generator().manual_seed(0)
            nodes = data.Data(
                x=torch.rand(30, 4, generator=draws), edge_index=torch.randint(30, (2, 90), generator=draws),
                y=torch.arange(30) % 2, train_mask=torch.arange(30) < 10, test_mask=torch.arange(30) >= 20,
                val_mask=(torch.arange(30) >= 10) & (torch.arange(30) < 20),
            )  # fmt: skip
            self.data, self.slices = self.collate([nodes])

    run = train("graphmae", One(), out=tmp_path / "run", epochs=1, quiet=True, options={"hidden": 8})  # type: ignore[arg-type]
    assert "nodes" in {finding.name for finding in run.probe()}
    attacked, batch = run.attack(eps=0.2, samples=5)
    assert attacked.x.shape == batch.x.shape == (5, 4)
    assert float((attacked.x - batch.x).abs().max()) <= 0.2 + 1e-6


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


@pytest.mark.thorough
def test_what_comes_next_is_a_verb_that_the_run_has(runs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    for run in runs.values():
        taken = main(["audit", str(run), "--samples", "4"]) == 0
        assert open_run(run).auditable is taken, run
    capsys.readouterr()
