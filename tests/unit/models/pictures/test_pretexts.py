"""Rotation and jigsaw: what is made, what its label means, and which orders tiles are laid in."""

import pytest
import torch
from torch import Tensor

from withstand.core.errors import ConfigError, DataError
from withstand.core.random import Draws
from withstand.models.pictures.pretexts import CLOCKWISE, JigsawPretext, RotationPretext, tile_orders, tiles


def pictures(count: int = 3, side: int = 6) -> Tensor:
    return torch.rand(count, 2, side, side, generator=torch.Generator().manual_seed(0))


def draws(count: int = 3, epoch: int = 0) -> Draws:
    return Draws(0, torch.arange(count), epoch=epoch)


def test_four_turns_row_by_row() -> None:
    x = pictures()
    made, labels = RotationPretext(5).made(x, draws())
    assert labels.tolist() == [0, 1, 2, 3] * 3
    turns = made.view(3, 4, 2, 6, 6)
    assert torch.equal(turns[:, 0], x)
    # Clockwise: what was on the left comes to the top.
    assert torch.equal(turns[:, 1][:, :, 0], x[:, :, :, 0].flip(2))
    assert torch.equal(turns[:, 2], x.flip((2, 3)))
    assert torch.equal(turns[:, 3].rot90(-1, (2, 3)), x)
    with pytest.raises(DataError, match="only square pictures"):
        CLOCKWISE.every(torch.rand(1, 3, 4, 5))


@pytest.mark.parametrize("grid", [2, 3])
def test_jigsaw_lays_tiles_in_the_order_that_its_label_names(grid: int) -> None:
    x = pictures(side=6)
    task = JigsawPretext(5, grid=grid, count=20)
    made, labels = task.made(x, draws())
    assert made.shape == (3 * grid**2, 2, 6, 6)
    whole = torch.nn.functional.interpolate(tiles(x, grid).flatten(0, 1), (6, 6), mode="bilinear").view(3, grid**2, -1)
    laid = made.view(3, grid**2, -1)
    for row, label in enumerate(labels):
        assert torch.equal(laid[row], whole[row][task.orders[label]])
        assert torch.equal(laid[row][task.orders[label].argsort()], whole[row]), "the inverse order restores them"
    assert not torch.equal(task.made(x, draws(epoch=1))[1], labels)
    assert torch.equal(task.made(x[1:], draws()[1:])[1], labels[1:]), "a label hangs on its own sample"


def test_tiles_row_by_row() -> None:
    x = torch.arange(36.0).view(1, 1, 6, 6)
    cut = tiles(x, 3)
    assert cut.shape == (1, 9, 1, 2, 2)
    assert cut[0, :, 0, 0, 0].tolist() == [0, 2, 4, 12, 14, 16, 24, 26, 28]
    assert tiles(torch.rand(1, 1, 32, 32), 3).shape == (1, 9, 1, 10, 10)
    with pytest.raises(DataError, match="cannot be cut into 3 x 3"):
        tiles(torch.rand(1, 1, 2, 2), 3)


def test_orders_are_far_apart() -> None:
    orders = tile_orders(3, 35, 0)
    assert orders.shape == (35, 9)
    assert (orders.sort(1).values == torch.arange(9)).all()
    distance = (orders[:, None] != orders).sum(2)[~torch.eye(35, dtype=torch.bool)]
    assert distance.min() >= 7, "the published file has 3"
    assert distance.double().mean() > 8.2
    assert torch.equal(tile_orders(3, 20, 0), orders[:20])
    assert not torch.equal(tile_orders(3, 2, 1), orders[:2])


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"grid": 4}, "grid must be 2 or 3"), ({"grid": 2, "count": 25}, r"count must lie in \[2, 24\]")],
)
def test_settings_are_checked(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        JigsawPretext(4, **settings)


@pytest.mark.parametrize("task", [RotationPretext(72, dropout=0.0), JigsawPretext(72, grid=2, count=4, dropout=0.0)])
def test_the_loss_reaches_the_encoder(task: RotationPretext) -> None:
    encoder = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(72, 72))
    loss, solved = task(encoder, pictures(), draws())
    loss.backward()
    assert encoder[1].weight.grad.abs().max() > 0
    assert 0 <= solved <= 1
