"""Clips are changed alike in all frames, and still ones pan a single frame by whole pixels."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import Draws
from withstand.views.clips import ClipView, _mirrored


def clips(count: int = 12) -> Batch:
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (count, 5, 3, 20, 24), dtype=torch.uint8, generator=generator)
    return Batch(x, torch.arange(40, 40 + count), torch.arange(count))


def seen(view: ClipView, batch: Batch, seed: int = 0, epoch: int = 0) -> Tensor:
    return view(batch, Draws(seed, batch.index, epoch=epoch)).views[0]


def test_all_frames_of_a_clip_are_mirrored_or_none() -> None:
    batch = clips()
    found = seen(ClipView(still=0), batch)
    plain = batch.x / 255
    mirrored = [torch.equal(one, other.flip(3)) for one, other in zip(found, plain, strict=True)]
    straight = [torch.equal(one, other) for one, other in zip(found, plain, strict=True)]
    assert [a != b for a, b in zip(mirrored, straight, strict=True)] == [True] * 12
    assert 0 < sum(mirrored) < 12


def test_a_still_clip_is_its_first_frame_panned_by_whole_pixels() -> None:
    batch = clips()
    found = seen(ClipView(flip=0, still=1, reach=2), batch)
    assert torch.equal(found[:, 0], batch.x[:, 0] / 255)
    moves = set()
    for clip in found:
        for before, now in pairwise(clip):
            fits = [
                (down, across)
                for down in range(-2, 3)
                for across in range(-2, 3)
                if torch.equal(now[:, 8:12, 8:12], before[:, 8 + down : 12 + down, 8 + across : 12 + across])
            ]
            assert len(fits) == 1
            moves |= {*fits}
    assert len(moves) > 15, "and all ways are gone"
    assert torch.equal(seen(ClipView(flip=0, still=1, reach=0), batch)[:, 4], batch.x[:, 0] / 255)


def test_a_share_of_the_clips_is_still() -> None:
    x = torch.rand(400, 3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    batch = Batch(x, torch.arange(400))
    found = seen(ClipView(flip=0), batch)
    share = 1 - sum(torch.equal(one, other) for one, other in zip(found, x, strict=True)) / 400
    assert share == pytest.approx(0.3, abs=0.07)


def test_beyond_its_ends_a_row_goes_on_mirrored() -> None:
    assert _mirrored(torch.arange(-4, 8), 4).tolist() == [2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1]
    assert _mirrored(torch.arange(-2, 3), 1).tolist() == [0] * 5


def test_a_clips_draws_are_its_own_and_the_epochs() -> None:
    batch, view = clips(), ClipView()
    before = batch.x.clone()
    whole = seen(view, batch)
    rows = torch.tensor([5, 0, 2])
    assert torch.equal(seen(view, Batch(batch.x[rows], batch.index[rows])), whole[rows])
    assert not torch.equal(seen(view, batch, epoch=1), whole)
    assert torch.equal(batch.x, before)
    floats = batch.with_x(batch.x / 255)
    seen(view, floats)
    assert torch.equal(floats.x, before / 255)
    assert bool(((whole >= 0) & (whole <= 1)).all())


def test_what_is_no_clip_or_no_probability_is_refused() -> None:
    with pytest.raises(DataError, match=r"clips are \(B, T, C, H, W\), not \(12, 3, 20, 24\)"):
        seen(ClipView(), clips().with_x(clips().x[:, 0]))
    for wrong in ({"flip": 1.5}, {"still": -0.1}, {"reach": -1}):
        with pytest.raises(ConfigError, match="flip and still must lie in"):
            ClipView(**wrong)  # type: ignore[arg-type]
