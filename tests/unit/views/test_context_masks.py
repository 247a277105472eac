"""I-JEPA's blocks: sizes as the official code rounds them, contexts without targets, one size over a batch."""

import math

import pytest
import torch

from withstand.core.errors import ConfigError
from withstand.core.random import Draws
from withstand.views.context_masks import context_and_targets


def drawn(pictures: int = 64, grid: tuple[int, int] = (14, 14), step: int = 0, **settings: object):  # type: ignore[no-untyped-def]
    one = Draws(7, torch.zeros(1, dtype=torch.int64), epoch=step)
    return context_and_targets(Draws(1, torch.arange(pictures), epoch=step), one, grid, **settings)  # type: ignore[arg-type]


def official_sides(
    unit: float, grid: tuple[int, int], scale: tuple[float, float], aspect: tuple[float, float]
) -> tuple[int, int]:
    """The official `_sample_block_size`, for a number in [0, 1)."""
    height, width = grid
    most = int(height * width * (scale[0] + unit * (scale[1] - scale[0])))
    ratio = aspect[0] + unit * (aspect[1] - aspect[0])
    h, w = round(math.sqrt(most * ratio)), round(math.sqrt(most / ratio))
    while h >= height:
        h -= 1
    while w >= width:
        w -= 1
    return h, w


@pytest.mark.parametrize("grid", [(14, 14), (8, 8), (7, 9)])
@pytest.mark.parametrize("step", range(5))
def test_blocks_are_of_the_official_sizes(grid: tuple[int, int], step: int) -> None:
    unit = Draws(7, torch.zeros(1, dtype=torch.int64), epoch=step).uniform(2)[0].tolist()
    height, width = official_sides(unit[0], grid, (0.15, 0.2), (0.75, 1.5))
    _, blocks = drawn(16, grid, step)
    assert blocks.shape == (16, 4, height * width)
    rows, columns = blocks // grid[1], blocks % grid[1]
    assert torch.equal(rows.amax(2) - rows.amin(2), torch.full((16, 4), height - 1))
    assert torch.equal(columns.amax(2) - columns.amin(2), torch.full((16, 4), width - 1))
    assert int(rows.max()) < grid[0] - 1, "as in the code, a block's last place is left out"
    assert all(len({*block.tolist()}) == height * width for block in blocks.flatten(0, 1))


def test_a_context_has_no_patch_of_a_target_and_all_contexts_one_size() -> None:
    for step in range(8):
        keep, blocks = drawn(step=step)
        assert keep.shape[1] > 10
        assert not (keep[:, :, None] == blocks.flatten(1)[:, None]).any()
        assert torch.equal(keep, keep.sort(1).values), "the last ones are cut"


def test_pictures_draw_alone_but_for_the_size_that_all_share() -> None:
    keep, blocks = drawn(64)
    fewer, same = drawn(16)
    assert torch.equal(blocks[:16], same)
    assert torch.equal(keep[:16, : min(keep.shape[1], fewer.shape[1])], fewer[:, : min(keep.shape[1], fewer.shape[1])])


def test_targets_are_let_in_one_by_one_where_a_context_would_keep_too_little() -> None:
    """Eight blocks of a third each cover nearly everything: the code lets targets in from the last on."""
    keep, blocks = drawn(32, (6, 6), targets=(0.3, 0.34), count=8, least=8)
    assert keep.shape[1] > 8
    inside = (keep[:, :, None, None] == blocks[:, None]).any(3).any(1)
    assert bool(inside[:, -1].any())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"targets": (0.3, 0.2)}, "targets must be two rising numbers"),
        ({"context": (0.5, 1.2)}, "context must be two rising numbers"),
        ({"aspect": (0.0, 1.0)}, "aspect must be two rising numbers"),
        ({"count": 0}, "target block or more"),
        ({"least": 500}, "keep more than least=500"),
        ({"targets": (0.001, 0.001)}, "a target block would be 0 x 0"),
    ],
)
def test_what_does_not_fit_is_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        drawn(**settings)
