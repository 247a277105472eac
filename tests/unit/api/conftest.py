"""One small run on a folder of photos without labels, which tests of what is done with a run share."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import withstand as ws
from withstand.api.runs import Run

KINDS = ("checks", "plain", "stripes")


def draw(place: int) -> Image.Image:
    """Return a photo, one of three kinds that can be told apart."""
    rng = np.random.default_rng(place)
    rows, columns = np.mgrid[:20, :24]
    shape = ((rows // 3 + columns // 3) % 2, 0 * rows, columns // 3 % 2)[place % 3]
    pixels = shape[..., None] * 120 + rng.integers(40, 90, 3) + rng.integers(0, 30, (20, 24, 3))
    return Image.fromarray(pixels.astype(np.uint8))


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shared") / "my photos"
    folder.mkdir()
    for place in range(60):
        draw(place).save(folder / f"photo {place:02}.png")
    return folder


@pytest.fixture(scope="session")
def photos_run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """48 photos are learnt from, 12 are kept."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        options = {"width": 4, "batch": 24, "size": 16}
        out = tmp_path_factory.mktemp("run") / "of photos"
        return ws.train("simclr", str(photos), out=out, epochs=1, options=options, quiet=True)


def kind_of(name: str) -> str:
    """Return what a photo shows, by its file's name."""
    return KINDS[int(name[6:8]) % 3]
