"""Intensities: brightness is added, contrast stretches about the mean, and both stay inside their range."""

import pytest
import torch

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError
from withstand.core.random import Draws
from withstand.views.pictures.colors.intensity import Intensity


def test_it_adds_and_stretches_by_what_was_drawn() -> None:
    x = torch.rand(5, 1, 6, 6) / 4 + 3 / 8
    index = torch.arange(5)
    found = Intensity(0.1, 0.2)(Batch(x, index), Draws(3, index)).x
    one, other = Draws(3, index).uniform(2, low=-1.0, high=1.0).T
    bright = x + 0.1 * one.view(-1, 1, 1, 1)
    mean = bright.mean((2, 3), keepdim=True)
    torch.testing.assert_close(found, (bright - mean) * (1 + 0.2 * other.view(-1, 1, 1, 1)) + mean)


def test_nothing_asked_for_changes_nothing_and_too_much_is_refused() -> None:
    x = torch.rand(2, 1, 4, 4)
    torch.testing.assert_close(Intensity(0, 0)(Batch(x, torch.arange(2)), Draws(0, torch.arange(2))).x, x)
    with pytest.raises(ConfigError, match="contrast"):
        Intensity(contrast=2)
