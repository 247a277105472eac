"""Batches of whole groups: what is told can be done."""

import re

import pytest

from withstand.core.errors import ConfigError
from withstand.methods.shared.whole_batches import refuse_odd_batch


@pytest.mark.parametrize("most", [3, 4, 7, 8, 11, 38])
@pytest.mark.parametrize(("unit", "fewest"), [(1, 1), (4, 4), (4, 8), (16, 16)])
def test_every_batch_that_is_named_is_accepted(unit: int, fewest: int, most: int) -> None:
    for batch in range(1, 50):
        try:
            refuse_odd_batch(batch, unit, fewest, most, "whole groups")
        except ConfigError as refused:
            told = re.findall(r"\d+", str(refused).partition("use --batch ")[2])
            assert bool(told) == (most >= fewest)
            for near in told:
                refuse_odd_batch(int(near), unit, fewest, most, "whole groups")
        else:
            assert fewest <= batch <= most


def test_data_that_fill_no_batch_are_told() -> None:
    with pytest.raises(ConfigError, match="that takes 16 samples or more, and the data fill 10"):
        refuse_odd_batch(10, 16, 16, 10, "whole graphs of 16")
