"""A run on an array file that holds something else by now still takes other data; its own are refused."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import withstand as ws
from withstand.core.errors import DataError


def test_a_folder_of_photos_after_the_array_file_was_rewritten(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for name, size in (("photos", 10), ("small", 8)):
        (tmp_path / name).mkdir()
        for place in range(3):
            pixels = draw.integers(0, 256, (size, size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{place}.png")
    pictures = draw.integers(0, 256, (30, 8, 8), dtype=np.uint8)
    own, photos = str(tmp_path / "own.npz"), str(tmp_path / "photos")
    np.savez(own, x=pictures)
    path = ws.train("simclr", own, out=tmp_path / "run", epochs=1, options={"width": 4, "batch": 12}, quiet=True).path
    before = ws.open_run(path).embed(photos).x
    np.savez(own, x=pictures[::-1, :, :6])
    run = ws.open_run(path)
    assert run.auditable
    with pytest.raises(DataError, match="no longer holds"):
        run.embed()
    np.testing.assert_array_equal(run.embed(photos).x, before)
    with pytest.raises(DataError, match="no longer holds"):
        run.neighbors(photos)
    Path(own).unlink()
    np.testing.assert_array_equal(ws.open_run(path).embed(photos).x, before)
    assert len(ws.open_run(path).embed(str(tmp_path / "small" / "0.png"))) == 1
