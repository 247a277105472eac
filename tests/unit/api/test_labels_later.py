"""A run on pictures without labels, and a table of labels that comes later."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from unit.api.conftest import kind_of
from withstand.api.runs import Run
from withstand.cli.main import main
from withstand.core.errors import DataError
from withstand.data.arrays.source import ArraySource
from withstand.data.beside.labels import with_labels


def write(path: Path, rows: list[tuple[str, str]], head: str = "file,label") -> Path:
    path.write_text("\n".join([head, *map(",".join, rows)]) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def table(photos: Path, tmp_path: Path) -> Path:
    """Labels of all but six photos, and two rows about none."""
    names = sorted(path.name for path in photos.iterdir())
    rows = [(name, kind_of(name)) for name in names if int(name[6:8]) % 10 != 3]
    return write(tmp_path / "labels.csv", [*rows, ("lost.png", "plain"), ("gone.png", "plain")])


@pytest.mark.filterwarnings("default")
def test_probes_learn_from_labels_that_came_later_as_scikit_learn_does(
    photos_run: Run, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert photos_run.source.labels is None
    assert main(["probe", str(photos_run.path), "--labels", str(table)]) == 0
    captured = capsys.readouterr()
    assert captured.out.endswith(f"next: withstand audit '{photos_run.path}' --labels {table}\n")
    found = {finding.name: finding for finding in photos_run.folder.findings()}
    told, test = (found["knn"].protocol[name] for name in ("labels", "test"))
    assert isinstance(told, dict)
    assert isinstance(test, dict)
    assert (told["samples with a label"], told["samples without"], told["rows that name no sample"]) == (54, 6, 2)
    assert captured.err.count("54 of 60 samples have a label") == 1
    assert "2 of 56 rows name no sample ('lost.png', 'gone.png')" in captured.err

    features = photos_run.embed()
    known = np.array([int(name[6:8]) % 10 != 3 for name in features.names])
    train = np.array(features.parts) == "train"
    kinds = np.array([kind_of(name) for name in features.names])
    x = features.x.double().numpy()
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    voters = KNeighborsClassifier(20, metric="cosine", algorithm="brute", weights=lambda d: np.exp((1 - d) / 0.07))
    voters.fit(x[train & known], kinds[train & known])
    expected = (voters.predict(x[~train & known]) == kinds[~train & known]).mean()
    assert found["knn"].numbers["accuracy"] == pytest.approx(expected)
    assert not {"gauges", "map"} & set(found)  # what needs no labels is about all photos
    assert test["samples"] == (~train & known).sum()


@pytest.mark.filterwarnings("default")
def test_an_attack_takes_the_labels_too(photos_run: Run, table: Path, tmp_path: Path) -> None:
    out = tmp_path / "attacked.npz"
    quick = ["--samples", "4", "--steps", "2", "--out", str(out)]
    assert main(["attack", str(photos_run.path), "--labels", str(table), *quick]) == 0
    names = [name for name in photos_run.embed(split="test").names if int(name[6:8]) % 10 != 3]
    with np.load(out) as arrays:
        assert [("checks", "plain", "stripes")[label] for label in arrays["y"]] == [kind_of(n) for n in names[:4]]


def refused(run: Run, path: Path, match: str, column: str | None = None) -> None:
    with pytest.raises(DataError, match=match):
        run.with_labels(path, column).sources()


def test_tables_that_say_too_little_or_two_things_are_refused(photos_run: Run, tmp_path: Path) -> None:
    names = [f"photo {place:02}.png" for place in range(60)]
    every = [(name, kind_of(name)) for name in names]
    refused(photos_run, write(tmp_path / "a.csv", [("x.png", "cat"), ("y.png", "dog")]), "called as 'photo 00.png'")
    refused(photos_run, write(tmp_path / "b.csv", [*every, (names[0], "dog")]), "two labels of one sample: 'checks'")
    wide = [(name, kind, "day") for name, kind in every]
    refused(photos_run, write(tmp_path / "c.csv", wide, "file,kind,when"), "name one of kind, when")  # type: ignore[arg-type]
    refused(photos_run, tmp_path / "c.csv", "no column 'knd'.*'kind'", "knd")
    assert photos_run.with_labels(tmp_path / "c.csv", "kind").sources()[0].classes == ("checks", "plain", "stripes")
    learnt = photos_run.embed(split="train").names
    half = write(tmp_path / "d.csv", [(name, kind_of(name)) for name in learnt])
    with pytest.warns(UserWarning, match="12 have none"):
        refused(photos_run, half, "no label for any of the 12 samples that are kept to judge by")


def test_samples_are_named_by_place_and_part_where_they_have_no_names(tmp_path: Path) -> None:
    parts = {part: ArraySource(np.zeros((3, 2), np.float32)) for part in ("train", "test")}
    table = write(tmp_path / "y.csv", [(f"{part}/{row}", f"{row % 2}") for part in parts for row in range(3)], "id,y")
    found, told = with_labels(dict(parts), table)
    assert [source.labels.tolist() for source in found.values() if source.labels is not None] == [[0, 1, 0]] * 2
    assert told.labelled == 6
    with pytest.raises(DataError, match="names none"):  # 0 names one of each part
        with_labels(dict(parts), write(tmp_path / "z.csv", [("0", "1"), ("1", "0")], "id,y"))
