"""Labels of one class alone teach a classifier nothing, and are refused before anything is learnt."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from withstand.core.errors import DataError
from withstand.recipes.pretext import sla
from withstand.recipes.robust import mart, pgd_at, srat

PICTURES = torch.randint(0, 256, (12, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("recipe", [sla, mart, pgd_at, srat])
@pytest.mark.parametrize("label", [0, 3])
def test_one_class_is_refused(recipe: Any, label: int) -> None:
    y = torch.full((12,), label)
    setup = replace(recipe.SETUP, data=(PICTURES, y), width=4)
    with pytest.raises(DataError, match=rf"are of one class, {label}: a classifier tells two or more apart"):
        recipe.experiment(setup)
    y = torch.arange(12) % 2
    assert recipe.experiment(replace(setup, data=(PICTURES, y), holdout=0)).method is not None
