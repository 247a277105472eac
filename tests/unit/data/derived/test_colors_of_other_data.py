"""Photos are read in color or in grey, as a run's own pictures were."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from withstand.core.errors import DataError
from withstand.core.roles import Source
from withstand.core.victims.victim import Victim
from withstand.data.arrays.source import ArraySource
from withstand.data.derived.resized import GREY
from withstand.data.load import splits_like
from withstand.data.shared.rows import rows_like
from withstand.defenses.purifier import Purifier

DRAW = np.random.default_rng(0)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number in range(10):
        Image.fromarray(DRAW.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(tmp_path / f"{number}.png")
    return tmp_path


def learnt(channels: int) -> ArraySource:
    return ArraySource(torch.from_numpy(DRAW.integers(0, 256, (4, channels, 8, 8), dtype=np.uint8)))


def read(source: Source, data: Any) -> list[Source]:
    return [*splits_like(source, data), *(some.source for some in rows_like(source, data))]


def test_a_folder_in_color_is_made_grey_for_a_run_on_grey_pictures(photos: Path) -> None:
    found = read(learnt(1), str(photos))
    assert [one.shape for one in found] == [(1, 8, 8)] * 3
    colored = np.asarray(Image.open(photos / "0.png")).astype(float)
    np.testing.assert_allclose(found[2][[0]].x[0, 0].numpy(), (colored @ np.array(GREY)).round(), atol=1)
    assert "made grey" in str(found[2].notes)


def test_arrays_stay_as_they_are() -> None:
    pictures = torch.from_numpy(DRAW.integers(0, 256, (10, 3, 8, 8), dtype=np.uint8))
    assert [some.shape[0] for some in read(learnt(1), pictures)] == [3] * 3


def test_a_filter_of_grey_pictures_before_a_classifier_of_colored_ones_is_told_in_a_line() -> None:
    classifier = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 2))
    guard = Purifier(Victim(classifier), torch.nn.Conv2d(1, 1, 3, padding=1))
    with pytest.raises(DataError, match=r"Conv2d does not clean inputs of shape \(3, 8, 8\): RuntimeError"):
        guard(torch.rand(2, 3, 8, 8))
