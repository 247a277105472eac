"""Local contrast: the published region's loss by a plain loop, its closed forms, and where regions lie."""

import math

import pytest
import torch
from torch import Tensor

from withstand.core.errors import ConfigError, DataError
from withstand.losses.contrast.local import anchor_points, local_contrast, nearest_points, regions

ANCHORS = anchor_points(13)
NEAR = nearest_points(ANCHORS)


def maps(seed: int, side: int = 16) -> Tensor:
    return torch.randn(2, 3, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def by_hand(one: Tensor, other: Tensor, size: int, tau: float) -> float:
    """The official reduction, region by region: both directions, over anchors, over twice the batch."""
    side = one.shape[2]
    last = side - 4 if size == 3 else side - 1

    def region(picture: Tensor, point: int) -> Tensor:
        row, column = (place * last // 4 for place in divmod(point, 5))
        return picture[:, row : row + size, column : column + size].flatten()

    def cosine(a: Tensor, b: Tensor) -> float:
        return float(a @ b / (a.norm() * b.norm()))

    total = 0.0
    for first, second in zip(one, other, strict=True):
        for a, b in ((first, second), (second, first)):
            for anchor, near in zip(ANCHORS, NEAR, strict=True):
                mine = region(a, anchor)
                pull = math.exp(cosine(mine, region(b, anchor)) / tau)
                push = sum(math.exp(cosine(mine, region(x, v)) / tau) for x in (a, b) for v in near)
                total += -math.log(pull / (pull + push))
    return total / len(ANCHORS) / (2 * len(one))


@pytest.mark.parametrize("size", [1, 3])
def test_it_is_the_published_sum(size: int) -> None:
    one, other = maps(0), maps(1)
    found = local_contrast(regions(one, size), regions(other, size), ANCHORS, NEAR, 0.3)
    assert float(found) == pytest.approx(by_hand(one, other, size, 0.3), abs=1e-12)


def test_equal_features_give_log_11() -> None:
    same = regions(torch.ones(2, 3, 12, 12, dtype=torch.float64))
    assert float(local_contrast(same, same, ANCHORS, NEAR, 0.1)) == pytest.approx(math.log(11))


def test_aligned_regions_among_orthogonal_ones_cost_nothing_when_it_is_cold() -> None:
    own = torch.eye(25, dtype=torch.float64)[None]
    assert float(local_contrast(own, own, ANCHORS, NEAR, 0.01)) < 1e-12


@pytest.mark.parametrize("side", [12, 17, 24, 48])
@pytest.mark.parametrize("size", [1, 3])
def test_regions_lie_inside_and_apart(side: int, size: int) -> None:
    place = torch.arange(side * side, dtype=torch.float64).view(1, 1, side, side)
    firsts = torch.cat([place, torch.ones_like(place)], 1)  # unit rows keep the ratio
    found = regions(firsts, size)[0].view(25, 2, -1)
    number = (found[:, 0] / found[:, 1])[:, 0].round().long()
    assert len(set(number.tolist())) == 25
    row, column = number // side, number % side
    assert int(max(row.max(), column.max())) + size - 1 == (side - 2 if size == 3 else side - 1)
    assert int(min(row.min(), column.min())) == 0


def test_neighbours_are_the_nearest() -> None:
    assert len(ANCHORS) == len(set(ANCHORS)) == 13
    assert nearest_points((0,)) == ((1, 5, 6, 2, 10),)
    assert all(len(near) == 5 and anchor not in near for anchor, near in zip(ANCHORS, NEAR, strict=True))


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(DataError, match="12 x 12"):
        regions(torch.ones(1, 3, 8, 8))
    with pytest.raises(ConfigError, match="9 or 13"):
        anchor_points(4)
    with pytest.raises(ConfigError, match="1 or 3"):
        regions(torch.ones(1, 3, 16, 16), 2)
    with pytest.raises(DataError, match="regions are"):
        local_contrast(torch.ones(1, 9, 4), torch.ones(1, 9, 4), ANCHORS, NEAR)
