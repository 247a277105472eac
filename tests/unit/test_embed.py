"""`embed` keeps the rows' identity: what comes back stands beside the file, row by row."""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import Tensor

import withstand as ws
from withstand.api.runs import Run
from withstand.cli.main import main
from withstand.core.errors import ConfigError, DataError
from withstand.data.graphs.source import GraphSource
from withstand.data.tables.source import TableSource
from withstand.evaluation.features import embed

PICTURES = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), np.uint8)
LABELS = np.random.default_rng(1).integers(0, 3, 40)


@pytest.fixture(autouse=True)
def cache_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache-home"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on pictures of an .npz file without parts."""
    folder = tmp_path_factory.mktemp("embed")
    np.savez(folder / "own.npz", x=PICTURES, y=LABELS)
    options = {"width": 4, "batch": 16}
    return ws.train("simclr", str(folder / "own.npz"), out=folder / "run", epochs=1, options=options, quiet=True)


def expected(run: Run, pictures: npt.NDArray[np.uint8]) -> Tensor:
    """Return the features of pictures, computed without any source."""
    x = torch.from_numpy(pictures.transpose(0, 3, 1, 2).copy()).float() / 255
    with torch.no_grad():
        features: Tensor = run.encoder(x)
    return features


def close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_all_rows_of_its_own_data_in_the_files_order(run: Run) -> None:
    found = run.embed()
    assert found.y is not None
    close(found.x, expected(run, PICTURES))
    assert found.y.tolist() == LABELS.tolist()
    assert found.index.tolist() == list(range(40))
    assert (found.parts.count("train"), found.parts.count("test")) == (32, 8)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_part_names_its_rows_in_the_file(run: Run, split: str) -> None:
    found = run.embed(split=split)
    assert found.y is not None
    close(found.x, expected(run, PICTURES[found.index]))
    assert found.y.tolist() == LABELS[found.index].tolist()
    assert set(found.parts) == {split}


def test_all_rows_of_other_data(run: Run, tmp_path: Path) -> None:
    other, labels = PICTURES[::-1].copy(), LABELS[::-1].copy()
    np.savez(tmp_path / "other.npz", x=other, y=labels)
    for data in (str(tmp_path / "other.npz"), other):
        found = run.embed(data)
        close(found.x, expected(run, other))
        assert found.index.tolist() == list(range(40))
    np.savez(tmp_path / "parts.npz", x_train=other[:30], y_train=labels[:30], x_test=other[30:], y_test=labels[30:])
    found = run.embed(str(tmp_path / "parts.npz"))
    assert found.y is not None
    close(found.x, expected(run, other))
    assert found.y.tolist() == labels.tolist()
    assert found.parts == ("train",) * 30 + ("test",) * 10
    assert found.index.tolist() == [*range(30), *range(10)]
    close(run.embed(str(tmp_path / "parts.npz"), split="test").x, expected(run, other[30:]))


def test_one_row(run: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", PICTURES[:1])
    close(run.embed(str(tmp_path / "one.npy")).x, expected(run, PICTURES[:1]))


def test_pictures_come_with_their_names(run: Run, tmp_path: Path) -> None:
    places = {}
    for number, part in enumerate(("Training", "Training", "valid", "test")):
        for name in ("cats", "dogs"):
            path = tmp_path / "pets" / part / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            place = 2 * number + (name == "dogs")
            Image.fromarray(PICTURES[place]).save(path)
            places[{"Training": "train", "valid": "validation"}.get(part, part), f"{name}/{number}.png"] = place
    found = run.embed(tmp_path / "pets")
    assert found.classes == ("cats", "dogs")
    assert found.y is not None
    keys = list(zip(found.parts, found.names, strict=True))
    assert sorted(keys) == sorted(places)
    close(found.x, expected(run, PICTURES[[places[key] for key in keys]]))
    assert found.y.tolist() == [int(name.startswith("dogs")) for name in found.names]
    assert set(run.embed(tmp_path / "pets", split="validation").parts) == {"validation"}


def test_an_unknown_part_is_refused_with_those_there_are(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="unknown split 'banana': allowed are train, test, all"):
        run.embed(split="banana")
    with pytest.raises(ConfigError, match="allowed are train, all"):
        run.embed(PICTURES, split="test")
    assert main(["embed", str(run.path), "--split", "banana"]) == 2
    assert "banana" in capsys.readouterr().err


def test_the_file_holds_what_python_gives(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["embed", str(run.path), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    found = run.embed()
    with np.load(facts["path"]) as arrays:
        close(torch.from_numpy(arrays["x"]), found.x)
        assert arrays["y"].tolist() == LABELS.tolist()
        assert arrays["parts"].tolist() == list(found.parts)
        assert arrays["index"].tolist() == list(range(40))


@pytest.mark.thorough
def test_rows_of_a_table_with_and_without_a_target(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = [f"{value:.4f},{word},{answer}" for value, word, answer in zip(
        rng.normal(size=40), rng.choice(list("xyz"), 40), rng.choice(["no", "yes"], 40), strict=True
    )]  # fmt: skip
    lines[:6] = [line.rpartition(",")[0] + "," for line in lines[:6]]
    (tmp_path / "rows.csv").write_text("\n".join(["value,word,answer", *lines]))
    options = {"target": "answer", "batch": 16, "hidden": 8, "layers": 1}
    run = ws.train("t-jepa", str(tmp_path / "rows.csv"), out=tmp_path / "run", epochs=1, options=options, quiet=True)
    source = run.sources()[0]
    assert isinstance(source.source, TableSource)  # type: ignore[attr-defined]
    assert len(source.source) - len(source) == 6  # type: ignore[attr-defined]
    found = run.embed()
    assert found.y is not None
    wanted = [{"": -1, "no": 0, "yes": 1}[line.rpartition(",")[2]] for line in lines]
    assert found.y.tolist() == wanted
    assert found.index.tolist() == list(range(40))
    assert {finding.name for finding in run.probe()} >= {"knn", "table-heads", "columns"}
    again = run.embed(str(tmp_path / "rows.csv"))
    torch.testing.assert_close(again.x, found.x)
    for row in (0, 20):  # without an answer, and with one
        (tmp_path / "one.csv").write_text("\n".join(["value,word,answer", lines[row]]))
        close(run.embed(str(tmp_path / "one.csv")).x, found.x[[row]])


def test_every_node_of_a_graph(tmp_path: Path) -> None:
    edges = np.array([[k, (k + 1) % 30] for k in range(30)]).T
    labels = torch.tensor([-1] * 10 + [0, 1] * 10)
    graph = GraphSource(edges, torch.rand(30, 5), labels)
    run = ws.train("graphmae", graph, out=tmp_path / "run", epochs=1, options={"hidden": 8}, quiet=True)
    found = run.embed()
    torch.testing.assert_close(found.x, embed(run.encoder, graph).x)
    assert found.y is not None
    assert found.y.tolist() == labels.tolist()
    assert len(run.embed(graph)) == 30


def test_labels_that_are_not_known_are_no_class(run: Run) -> None:
    found = run.embed()
    assert found.y is not None
    some = found[torch.tensor([1, 0])]
    assert some.parts == (found.parts[1], found.parts[0])
    lacking = type(found)(found.x, torch.where(torch.arange(40) < 3, -1, found.y), found.index)
    with pytest.raises(DataError, match="3 of 40 samples have no label"):
        _ = lacking.labels


@pytest.mark.thorough
def test_other_data_never_overwrite_what_the_runs_own_showed(run: Run, tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", x=PICTURES[::-1], y=LABELS)
    own = {finding.name: finding for finding in [*run.probe(), run.audit(samples=6, steps=2, ensemble="none")]}
    other = str(tmp_path / "other.npz")
    found = [*run.probe(other), run.audit(other, samples=6, steps=2, ensemble="none")]
    kept = {finding.name: finding for finding in run.folder.findings()}
    for finding in found:
        assert kept[finding.name].protocol == own[finding.name].protocol
        assert kept[finding.name].numbers == own[finding.name].numbers
        assert kept[f"{finding.name}, on other"].numbers == finding.numbers
        assert kept[f"{finding.name}, on other"].protocol["data"]["name"] == "other"  # type: ignore[index, call-overload]
    assert kept["knn"].protocol["data"]["name"] == "own"  # type: ignore[index, call-overload]
    html = run.report().read_text(encoding="utf-8")
    assert "kNN, on other" in html
    assert "Audit, on other" in html
