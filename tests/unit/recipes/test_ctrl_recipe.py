"""CTRL's recipe: data in which no class can be marked are refused in words that its options can answer."""

from dataclasses import replace

import pytest
import torch

from withstand.core.errors import DataError
from withstand.recipes.attackers import ctrl


def test_pictures_without_labels_are_refused() -> None:
    pictures = torch.randint(0, 256, (40, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with pytest.raises(DataError, match=r"ctrl marks pictures of one class .* the data have no labels$"):
        ctrl.experiment(replace(ctrl.SETUP, data=pictures, width=4))
