"""Tinted pictures: two independent things to see, each of which can be asked for."""

import numpy as np
import pytest
import torch

from withstand.core.errors import ConfigError, DataError
from withstand.data.arrays.source import ArraySource
from withstand.data.derived.synthetic.tinted import Tinted


def grey(count: int = 400) -> ArraySource:
    x = np.zeros((count, 1, 4, 4), dtype=np.uint8)
    x[:, :, 1:3, 1:3] = 255
    return ArraySource(x, np.arange(count) % 4)


def test_things_are_white_and_the_ground_is_of_the_tint() -> None:
    source = Tinted(grey(), tints=6)
    batch = source[range(400)]
    assert batch.x.shape == (400, 3, 4, 4)
    assert source.shape == (3, 4, 4)
    assert (batch.x[:, :, 1:3, 1:3] == 255).all()
    tints = Tinted(grey(), tints=6, told="tint").labels
    assert tints is not None
    corners = batch.x[:, :, 0, 0]
    for tint in range(6):
        mine = corners[tints == tint]
        assert (mine == mine[0]).all()
        # Hue by hue round the wheel, red first, at half brightness.
        assert mine[0].max() == 128
    assert len(corners.unique(dim=0)) == 6
    assert corners[tints == 0][0].tolist() == [128, 0, 0]
    assert corners[tints == 2][0].tolist() == [0, 128, 0]


def test_tints_are_even_and_independent_of_things() -> None:
    things, tints = (Tinted(grey(4000), tints=4, told=told).labels for told in ("thing", "tint"))
    assert things is not None
    assert tints is not None
    counts = (4 * things + tints).bincount(minlength=16)
    assert counts.min() > 180, "250 each, give or take"
    assert Tinted(grey(), told="tint").classes[3] == "tint 3"
    other = Tinted(grey(), seed=1, told="tint").labels
    assert not torch.equal(other, Tinted(grey(), told="tint").labels)
    marks = {Tinted(grey(), **settings).fingerprint() for settings in ({}, {"seed": 1}, {"told": "tint"}, {"tints": 3})}
    assert len(marks) == 4


def test_what_cannot_be_tinted_is_refused() -> None:
    with pytest.raises(DataError, match="only grey pictures"):
        Tinted(ArraySource(np.zeros((4, 3, 4, 4), dtype=np.uint8)))
    with pytest.raises(ConfigError, match="tints must be at least 2"):
        Tinted(grey(), tints=1)
    with pytest.raises(ConfigError, match="did you mean 'tint'"):
        Tinted(grey(), told="tints")
