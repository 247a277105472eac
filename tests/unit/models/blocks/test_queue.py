import pytest
import torch
from torch import Tensor

from withstand.core.errors import ConfigError
from withstand.core.random import isolated
from withstand.models.blocks.memory.queue import Queue


def queue(size: int = 5) -> Queue:
    with isolated("queue"):
        return Queue(size, 3)


def keys(*numbers: float) -> Tensor:
    """Rows that point to (1, n, 0)."""
    return torch.tensor([[1.0, number, 0.0] for number in numbers])


def test_first_in_first_out_round_the_end() -> None:
    made, directions = queue(), []
    assert (made.rows.norm(dim=1) - 1).abs().max() < 1e-6, "random rows are of unit length"
    assert len(made.known()) == 0
    made.push(keys(1, 2, 3))
    assert len(made.known()) == 3
    made.push(keys(4, 5, 6))
    directions = (made.rows[:, 1] / made.rows[:, 0]).tolist()
    assert directions == pytest.approx([6, 2, 3, 4, 5]), "6 took the place of the oldest"
    assert (int(made.place), int(made.filled)) == (1, 5)
    assert (made.rows.norm(dim=1) - 1).abs().max() < 1e-6


def test_offers_enter_after_the_step_and_only_in_training() -> None:
    made = queue()
    before = made.rows.clone()
    made.offer(keys(1, 2).requires_grad_())
    assert torch.equal(made.rows, before)
    made.push_offered()
    assert int(made.filled) == 2
    made.push_offered()
    assert int(made.filled) == 2, "nothing new was offered"
    made.eval().offer(keys(3))
    made.push_offered()
    assert int(made.filled) == 2
    assert not made.rows.requires_grad


def test_state_goes_on_in_another() -> None:
    one, other = queue(), queue()
    one.push(keys(1, 2, 3, 4))
    other.load_state_dict(one.state_dict())
    for made in (one, other):
        made.push(keys(5, 6))
    assert torch.equal(one.rows, other.rows)


def test_sizes() -> None:
    with pytest.raises(ConfigError, match="queue_size 5 is smaller than the batch of 6: use 6 or more"):
        queue().offer(keys(*range(6)))
    with pytest.raises(ConfigError, match="queue_size must be at least 1"):
        Queue(0, 3)
