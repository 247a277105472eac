"""Sets of changes: directions, orders, groups, names, and what they refuse."""

import numpy as np
import pytest
import torch
from torch import Tensor

from withstand.core.errors import ConfigError, DataError
from withstand.core.part import build, describe
from withstand.models.blocks.transforms import Combined
from withstand.models.pictures.transforms import ChannelOrders, Rotations, transform_set

SIZES = {
    "rotation": 4, "rotation2": 2, "color_perm": 6, "color_perm3": 3,
    "rot_color_perm6": 6, "rot_color_perm12": 12, "rot_color_perm24": 24,
}  # fmt: skip


def pictures(count: int = 2, channels: int = 3, height: int = 5, width: int = 5) -> Tensor:
    return torch.rand(count, channels, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", SIZES)
def test_a_set_begins_with_the_sample_itself_and_its_versions_differ(name: str) -> None:
    made, x = transform_set(name), pictures()
    assert len(made) == len({*made.names}) == SIZES[name]
    versions = made.every(x).unflatten(0, (2, len(made)))
    assert torch.equal(versions[:, 0], x)
    assert len({version.numpy().tobytes() for version in versions[0]}) == len(made)
    assert describe(build(describe(made))) == describe(made)


def test_turns_are_those_of_the_official_code() -> None:
    """numpy's and torch's rot90, counter-clockwise, number j by j quarters; clockwise, the other way."""
    x = pictures()
    for number in range(4):
        assert torch.equal(Rotations().apply(x, number), torch.rot90(x, number, (2, 3)))
        assert torch.equal(Rotations().apply(x, number)[0, 0], torch.tensor(np.rot90(x[0, 0], number).copy()))
        assert torch.equal(Rotations(clockwise=True).apply(x, number), torch.rot90(x, -number, (2, 3)))
    assert torch.equal(Rotations((0, 3)).apply(x, 1), torch.rot90(x, 3, (2, 3)))
    # What was on the right comes to the top.
    assert torch.equal(Rotations().apply(x, 1)[0, 0, 0], x[0, 0, :, -1])


def test_four_quarters_are_none() -> None:
    x = pictures()
    turned = x
    for _ in range(4):
        turned = Rotations().apply(turned, 1)
    assert torch.equal(turned, x)


def test_orders_of_channels_are_the_official_ones() -> None:
    x = pictures()
    made = transform_set("color_perm")
    for number, order in enumerate([[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]):
        assert torch.equal(made.apply(x, number), x[:, order])
    for number, order in enumerate([[0, 1, 2], [1, 2, 0], [2, 0, 1]]):
        assert torch.equal(transform_set("color_perm3").apply(x, number), x[:, order])


def test_combined_sets_go_through_turns_slowly_and_orders_quickly() -> None:
    x, made, orders = pictures(), transform_set("rot_color_perm24"), transform_set("color_perm")
    for number in range(24):
        expected = orders.apply(torch.rot90(x, number // 6, (2, 3)), number % 6)
        assert torch.equal(made.apply(x, number), expected)
    assert made.names[0] == "unchanged"
    assert made.names[6] == "turned by 90° counter-clockwise"
    assert made.names[8] == "turned by 90° counter-clockwise, channels 1 0 2"


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_versions_follow_their_sample_in_the_layout_that_came(layout: torch.memory_format) -> None:
    x, made = pictures(3).contiguous(memory_format=layout), Rotations()
    versions = made.every(x)
    assert versions.is_contiguous(memory_format=layout)
    for row in range(3):
        for number in range(4):
            assert torch.equal(versions[4 * row + number], made.apply(x, number)[row])


def test_half_turns_fit_pictures_of_any_sides() -> None:
    x = pictures(height=4)
    assert torch.equal(transform_set("rotation2").apply(x, 1), x.flip((2, 3)))
    with pytest.raises(DataError, match=r"only square pictures can be turned by a quarter, not \(4, 5\): rotation2"):
        Rotations().every(x)


def test_what_is_no_set_is_refused() -> None:
    with pytest.raises(DataError, match="of 3 channels, and the pictures have 1"):
        ChannelOrders().every(pictures(channels=1))
    for quarters in ((), (1, 0), (0, 0), (0, 4)):
        with pytest.raises(ConfigError, match="quarters must be different numbers from 0 to 3, 0 first, not"):
            Rotations(quarters)
    for orders in ((), ((1, 0), (0, 1)), ((0, 1), (0, 1)), ((0, 1), (0, 0))):
        with pytest.raises(ConfigError, match="orders must be different orders of the same channels"):
            ChannelOrders(orders)
    with pytest.raises(ConfigError, match=r"transforms 'rotations' is unknown: .*rotation"):
        transform_set("rotations")


def test_sets_of_sets() -> None:
    made = Combined(Combined(Rotations((0, 2)), ChannelOrders(((0, 1, 2), (2, 1, 0)))), Rotations((0, 1)))
    x = pictures()
    assert len(made) == 8
    assert torch.equal(made.apply(x, 7), x.flip((2, 3))[:, [2, 1, 0]].rot90(1, (2, 3)))
