"""A seller's way: a classifier, its copies, an attack on one of them, and which one it was; bad files in one line."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from withstand.api.adversaries.tracing import trace
from withstand.api.front import open_run
from withstand.cli.main import main
from withstand.core.findings.finding import Finding
from withstand.core.roles import network_of
from withstand.models.pictures.tracers import TracedCopies

ATTACKED = 200


def own(path: Path, count: int = 240) -> Path:
    """Squares of 8 x 8 pixels with a bright quarter, which is their class."""
    draws = np.random.default_rng(0)
    y = np.arange(count) % 4
    x = draws.normal(0.4, 0.1, (count, 1, 8, 8))
    for row, label in enumerate(y):
        x[row, 0, label // 2 * 4 : label // 2 * 4 + 4, label % 2 * 4 : label % 2 * 4 + 4] += 0.2
    np.savez(path, x=(x.clip(0, 1) * 255).round().astype(np.uint8), y=y)
    return path


@pytest.fixture(scope="module")
def sold(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A folder, the run of copies in it, and adversarial pictures that were made on copy 1."""
    folder = tmp_path_factory.mktemp("sold")
    data = str(own(folder / "own.npz"))
    first, run, copies = folder / "first", folder / "run", folder / "copies"
    words = ["--data", data, "--epochs", "6", "--batch", "24", "--width", "4", "--eps", "1/255", "--steps", "1"]
    assert main(["train", "pgd-at", *words, "--out", str(first), "--quiet"]) == 0
    words = ["--copies", "3", "--reserve", "1", "--alpha", "0.8", "--loss", "difference", "--epochs", "30"]
    words += ["--first", str(first), "--batch", "24", "--out", str(run), "--quiet"]
    assert main(["train", "attack-tracing", *words]) == 0
    assert main(["trace", str(run), "--copies", str(copies)]) == 0
    assert sorted(path.name for path in copies.glob("*.safetensors")) == [
        f"copy-{place}.safetensors" for place in range(3)
    ]
    attacked = folder / "adversarial.npz"
    words = ["--data", data, "--eps", "32/255", "--steps", "10", "--samples", str(ATTACKED), "--out", str(attacked)]
    assert main(["attack", str(copies / "copy-1.safetensors"), *words]) == 0
    return folder, run, attacked


def changed(sold: tuple[Path, Path, Path], name: str, **arrays: object) -> Path:
    """The adversarial pictures with other arrays, None for one that is left out."""
    folder, _, attacked = sold
    with np.load(attacked) as given:
        kept = {key: given[key] for key in given.files} | arrays
    np.savez(folder / name, **{key: value for key, value in kept.items() if value is not None})
    return folder / name


def test_copies_are_ranked_with_what_it_is_worth(
    sold: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    _, run, attacked = sold
    assert main(["trace", str(run), str(attacked), "--samples", str(ATTACKED)]) == 0
    said = capsys.readouterr().out
    assert "A match is no proof" in said
    assert "unknown" in said
    assert said.index("\n     1  ") < min(said.index("\n     0  "), said.index("\n     2  ")), said
    with (run / "trace-adversarial.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    finding = Finding.load(run / "findings" / "trace, adversarial.json")
    assert len(rows) == finding.numbers["pictures that were traced"] > 30
    assert {row["traced to"] for row in rows} <= {"unknown", "copy 0", "copy 1", "copy 2"}
    assert sum(row["first"] == "1" for row in rows) > len(rows) / 3
    assert set(finding.pictures) == {"original", "adversarial"}


def test_a_copy_on_disk_is_the_row_of_all(sold: tuple[Path, Path, Path]) -> None:
    _, run, attacked = sold
    copies = network_of(open_run(run).method, "copies").eval()
    assert isinstance(copies, TracedCopies)
    assert copies.registered == 3
    with np.load(attacked) as given:
        x, y, success = torch.from_numpy(given["adversarial"]), given["y"], given["success"]
    with torch.no_grad():
        said = copies(x).argmax(2).numpy()
    assert ((said[1] != y) == success).all(), "the file was attacked as the run has it"


@pytest.mark.thorough
def test_labels_alone_are_enough_and_originals_alone_too(sold: tuple[Path, Path, Path]) -> None:
    _, run, _ = sold
    whole = trace(run, changed(sold, "whole.npz"), samples=10)
    labels = trace(run, changed(sold, "labels.npz", x=None), samples=10)
    originals = trace(run, changed(sold, "originals.npz", y=None), samples=10)
    assert set(whole.pictures) <= set(labels.pictures)
    torch.testing.assert_close(whole.pictures[max(whole.pictures)].score, labels.pictures[max(whole.pictures)].score)
    assert int(originals.worth.score.argmax()) == int(whole.worth.score.argmax())
    assert whole.finding.protocol["what it means"]


@pytest.mark.thorough
def test_the_same_picture_again_is_no_further_evidence(sold: tuple[Path, Path, Path]) -> None:
    _, run, attacked = sold
    with np.load(attacked) as given:
        twice = {name: np.concatenate([given[name]] * 2) for name in ("adversarial", "x", "y")}
    once = trace(run, changed(sold, "once.npz"), samples=10)
    again = trace(run, twice, samples=10)
    assert again.pictures.keys() == once.pictures.keys()
    assert again.worth.pooled == once.worth.pooled
    torch.testing.assert_close(again.worth.confidence, once.worth.confidence)


REFUSED = [
    ({"adversarial": None}, "there is no array 'adversarial'"),
    ({"x": None, "y": None}, "nothing says what the pictures show"),
    ({"adversarial": np.zeros((ATTACKED, 3, 8, 8), np.float32)}, r"pictures (N, 1, 8, 8)"),
    ({"adversarial": np.zeros((ATTACKED, 64), np.float32)}, r"pictures (N, 1, 8, 8)"),
    ({"adversarial": np.zeros((0, 1, 8, 8), np.float32)}, "holds no pictures"),
    ({"adversarial": np.full((ATTACKED, 1, 8, 8), 2.0, np.float32)}, "outside [0, 1]"),
    ({"adversarial": np.full((ATTACKED, 1, 8, 8), np.nan, np.float32)}, "NaN"),
    ({"adversarial": np.zeros((ATTACKED, 1, 8, 8), np.int64)}, "bytes or numbers in [0, 1]"),
    ({"y": np.zeros(ATTACKED - 1, np.int64)}, "a class of each picture"),
    ({"y": np.full(ATTACKED, 7)}, "classes 0 to 3"),
    ({"x": np.zeros((ATTACKED - 1, 1, 8, 8), np.uint8)}, "199 originals of 200"),
    ({"predicted": np.zeros(ATTACKED, np.float32)}, "predicted must be whole numbers"),
]


@pytest.mark.parametrize(("arrays", "why"), REFUSED, ids=[why for _, why in REFUSED])
def test_files_that_cannot_be_traced_are_refused_in_a_line(
    sold: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str], arrays: dict[str, object], why: str
) -> None:
    file = changed(sold, "bad.npz", **arrays)
    assert main(["trace", str(sold[1]), str(file)]) == 2
    said = capsys.readouterr().err
    assert why in said
    assert said.count("\n") == 1


@pytest.mark.thorough
def test_pictures_that_are_not_adversarial_are_refused(
    sold: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    with np.load(sold[2]) as given:
        x, y = given["x"], given["y"]
    copies = network_of(open_run(sold[1]).method, "copies").eval()
    nearly = (x.clip(1, 254) + 1).astype(np.uint8)
    with torch.no_grad():
        sure = (copies(torch.from_numpy(nearly) / 255).argmax(2) == torch.from_numpy(y)).all(0).numpy()
    for arrays, why in (
        ({"adversarial": x}, "are as the original"),
        ({"adversarial": x, "x": None, "predicted": y}, "taken for what they show"),
        ({"adversarial": nearly[sure], "x": x[sure], "y": y[sure]}, "is adversarial"),
    ):
        assert main(["trace", str(sold[1]), str(changed(sold, "same.npz", **arrays))]) == 2, why
        assert why in capsys.readouterr().err


@pytest.mark.thorough
def test_what_is_no_file_and_no_run_of_copies_is_refused(
    sold: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder, run, attacked = sold
    words = tmp_path / "words.npz"
    words.write_text("no archive")
    for arguments, why in (
        ([str(run)], "or --copies FOLDER"),
        ([str(run), str(attacked), "--copies", str(tmp_path)], "one of them"),
        ([str(run), str(folder / "none.npz")], "there is no file"),
        ([str(run), str(folder / "own.txt")], "no .npz file"),
        ([str(run), str(words)], "cannot be read as .npz"),
        ([str(folder / "first"), str(attacked)], "gives no copies"),
        ([str(run), str(attacked), "--out", "list.txt"], ".csv"),
        ([str(run), str(attacked), "--confidence", "1.5"], "confidence must lie between 0 and 1"),
        ([str(run), str(attacked), "--samples", "1"], "at least 2"),
        ([str(run), str(attacked), "--prior", "0"], "prior"),
    ):
        assert main(["trace", *arguments]) == 2, arguments
        said = capsys.readouterr().err
        assert why in said
        assert said.count("\n") == 1


def test_what_makes_no_copies_is_refused(
    sold: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder, _, _ = sold
    draws = np.random.default_rng(0)
    np.savez(tmp_path / "other.npz", x=draws.integers(0, 256, (30, 1, 9, 9), dtype=np.uint8))
    first = ["--first", str(folder / "first"), "--out", str(tmp_path / "run")]
    for arguments, why in (
        ([], "--first FOLDER"),
        ([*first, "--copies", "1"], "copies must be at least 2"),
        ([*first, "--alpha", "1.5"], "alpha"),
        ([*first, "--sigma", "0"], "sigma must be above 0"),
        ([*first, "--loss", "reciprokal"], "reciprocal"),
        (["--first", str(tmp_path), "--out", str(tmp_path / "run")], str(tmp_path)),
    ):
        assert main(["train", "attack-tracing", *arguments]) == 2, arguments
        said = capsys.readouterr().err
        assert why in said
        assert said.count("\n") == 1
