"""Joined sources give each sample of each; resized pictures are what a plain formula makes of them."""

import pytest
import torch

from withstand.core.errors import DataError
from withstand.data.arrays.source import ArraySource
from withstand.data.derived.joined import Joined
from withstand.data.derived.resized import Resized, as_shaped


def pictures(count: int, channels: int = 1, side: int = 4, seed: int = 0) -> ArraySource:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 256, (count, channels, side, side), dtype=torch.uint8, generator=generator)
    return ArraySource(x, torch.arange(count) % 2)


def test_every_sample_comes_from_its_source_in_any_order() -> None:
    one, other = pictures(3), pictures(5, seed=1)
    whole = Joined((one, other))
    assert (len(whole), whole.starts, whole.labels) == (8, (0, 3), None)
    batch = whole[[7, 0, 3, 2, 4]]
    assert batch.index.tolist() == [7, 0, 3, 2, 4]
    expected = [other[[4]].x, one[[0]].x, other[[0]].x, one[[2]].x, other[[1]].x]
    assert torch.equal(batch.x, torch.cat(expected))
    assert whole[[]].x.shape == (0, 1, 4, 4)
    assert whole.fingerprint() != Joined((other, one)).fingerprint()


def test_other_shapes_are_not_joined() -> None:
    with pytest.raises(DataError, match=r"samples of \(1, 4, 4\), .* of \(1, 8, 8\)"):
        Joined((pictures(2), pictures(2, side=8)))
    with pytest.raises(DataError, match="there are no sources"):
        Joined(())


def test_colors_become_greys_and_greys_three_alike_channels() -> None:
    colored = pictures(3, channels=3)
    grey = Resized(colored, (1, 4, 4))[range(3)]
    r, g, b = colored[range(3)].x.double().unbind(1)
    assert (grey.x[:, 0].double() - (0.299 * r + 0.587 * g + 0.114 * b)).abs().max() <= 0.5 + 1e-4
    assert torch.equal(grey.y, colored.labels)
    back = Resized(pictures(2), (3, 4, 4))[range(2)].x
    assert torch.equal(back, pictures(2)[range(2)].x.expand(-1, 3, -1, -1))


def test_even_pictures_stay_even_and_halves_are_weighted_means() -> None:
    even = ArraySource(torch.full((1, 1, 8, 8), 77, dtype=torch.uint8))
    assert bool((Resized(even, (1, 5, 3))[[0]].x == 77).all())
    source = pictures(1, side=8)
    x = source[[0]].x.double()[0, 0]
    # A triangle twice as wide: of a row's cells 2i - 1 to 2i + 2 by 1, 3, 3, 1, cut off and scaled at the ends.
    weights = torch.zeros(4, 8, dtype=torch.float64)
    for row in range(4):
        for offset, weight in zip((-1, 0, 1, 2), (1, 3, 3, 1), strict=True):
            if 0 <= 2 * row + offset < 8:
                weights[row, 2 * row + offset] = weight
    weights /= weights.sum(1, keepdim=True)
    halves = Resized(source, (1, 4, 4))[[0]].x.double()[0, 0]
    assert (halves - weights @ x @ weights.T).abs().max() <= 0.5 + 1e-4


def test_what_has_the_shape_is_itself_and_what_cannot_have_it_is_refused() -> None:
    source = pictures(2)
    assert as_shaped(source, (1, 4, 4)) is source
    assert as_shaped(source, (3, 6, 6)).shape == (3, 6, 6)
    with pytest.raises(DataError, match=r"cannot be brought to \(2, 4, 4\)"):
        Resized(source, (2, 4, 4))
    with pytest.raises(DataError, match="only pictures"):
        Resized(ArraySource(torch.rand(3, 4)), (1, 4, 4))
