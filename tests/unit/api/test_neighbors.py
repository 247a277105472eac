"""The nearest of a run's samples to a picture, and features in files that other libraries read."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from unit.api.conftest import draw
from withstand.api.runs import Run
from withstand.cli.main import main
from withstand.core.errors import ConfigError, DataError
from withstand.data.pictures.files import PictureFiles


def test_neighbors_of_a_picture_are_scikit_learns(
    photos_run: Run, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [str(photos / "photo 07.png"), str(tmp_path / "new.png")]
    draw(100).save(asked[1])
    assert main(["neighbors", str(photos_run.path), *asked, "--k", "4", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["neighbors"]
    assert [one["query"] for one in found] == asked

    bank = photos_run.embed(split="train")
    pixels = torch.cat([photos_run.source[[0]].x[:0], PictureFiles(asked, 16)[[0, 1]].x]).float() / 255
    with torch.no_grad():
        queries = photos_run.encoder(pixels)
    search = NearestNeighbors(n_neighbors=4, metric="cosine").fit(bank.x.numpy())
    distance, rows = search.kneighbors(queries.numpy())
    for one, far, near in zip(found, distance, rows, strict=True):
        assert [hit["name"] for hit in one["neighbors"]] == [bank.names[row] for row in near]
        assert [hit["similarity"] for hit in one["neighbors"]] == pytest.approx(1 - far, abs=1e-5)
    if "photo 07.png" in bank.names:
        assert found[0]["neighbors"][0]["name"] == "photo 07.png"


def test_a_file_is_read_as_the_folder_reads_it(photos_run: Run, photos: Path) -> None:
    features = photos_run.embed()
    alone = photos_run.embed(photos / features.names[3])
    torch.testing.assert_close(alone.x[0], features.x[3], rtol=1e-4, atol=1e-5)
    assert alone.names == (str(photos / features.names[3]),)


def test_what_has_no_neighbors_is_refused(photos_run: Run, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="neighbors of what"):
        photos_run.neighbors()
    with pytest.raises(ConfigError, match="k must be at least 1, not 0"):
        photos_run.neighbors(np.zeros((1, 3, 16, 16), np.uint8), k=0)
    with pytest.raises(DataError, match=r"samples of \(1, 16, 16\), and this run learnt from \(3, 16, 16\)"):
        photos_run.neighbors(np.zeros((2, 16, 16), np.uint8))
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(DataError, match=r"broken\.png"):
        photos_run.neighbors(tmp_path / "broken.png")


def test_rows_of_an_array_are_called_by_their_place(photos_run: Run) -> None:
    found = photos_run.neighbors(np.stack([np.asarray(draw(1).resize((16, 16)))] * 2), k=99)
    assert found.queries == ("given, picture 0", "given, picture 1")
    assert found.rows.shape == (2, 48)  # all that were learnt from
    assert found.similarity[:, :-1].ge(found.similarity[:, 1:]).all()


def test_features_as_parquet_hold_what_python_gives(photos_run: Run, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    out = tmp_path / "features.parquet"
    assert main(["embed", str(photos_run.path), "--out", str(out)]) == 0
    table, found = parquet.read_table(out), photos_run.embed()
    assert table["name"].to_pylist() == sorted(f"photo {place:02}.png" for place in range(60)) == list(found.names)
    assert table["part"].to_pylist() == list(found.parts)
    assert np.array_equal(np.array(table["features"].to_pylist(), np.float32), found.x.numpy())
    assert "label" not in table.column_names
    assert main(["embed", str(photos_run.path), "--out", str(tmp_path / "features.csv")]) == 2
