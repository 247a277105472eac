"""Crops of photos that a batch holds in more detail than its pictures: the same boxes' law, sharp, each on its own."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as oracle

from withstand.core.batch import Batch
from withstand.core.random import Draws
from withstand.views.compose import Compose, TwoViews
from withstand.views.pictures.colors.color_views import ColorJitter
from withstand.views.pictures.crop import RandomResizedCrop, crop_boxes
from withstand.views.pictures.photos import Photos
from withstand.views.pictures.picture import CROP

SIDES = ((40, 56), (70, 33), (25, 120))
SIZE = 16


def photos(larger: Tensor) -> Photos:
    draws = np.random.default_rng(0)
    held = [draws.integers(0, 256, (*sides, 3), dtype=np.uint8) for sides in SIDES[: int(larger.sum())]]
    return Photos(larger, lambda: held)


def batch(larger: tuple[bool, ...] = (True, True, True)) -> Batch:
    x = torch.randint(
        0, 256, (len(larger), 3, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    return Batch(x, torch.arange(len(larger)), whole=photos(torch.tensor(larger)))


def draws(rows: Tensor, epoch: int = 0) -> Draws:
    return Draws(0, rows, epoch=epoch)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("threads", [1, 2])
def test_crops_are_torchvisions_of_the_whole_photo(interpolation: str, threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        given, view = batch(), RandomResizedCrop(SIZE, flip=0.5, interpolation=interpolation)
        made = view(given, draws(given.index))
    finally:
        torch.set_num_threads(before)
    assert made.x.dtype == torch.float32
    for x, crop, photo in zip(made.x, made.extras[CROP], given.whole.pictures, strict=True):
        high, wide = photo.shape[:2]
        box = (crop[:4] * torch.tensor([high, wide, high, wide])).round().int().tolist()
        whole = torch.from_numpy(photo).permute(2, 0, 1)
        wanted = oracle.resized_crop(whole, *box, [SIZE, SIZE], interpolation=oracle.InterpolationMode(interpolation))
        wanted = wanted.flip(2) if crop[4] else wanted
        assert (x * 255 - wanted).abs().max() <= 1 + 1e-3  # a level, and x is no whole number of them


def test_boxes_are_drawn_inside_each_picture_by_its_own_sides() -> None:
    rows = torch.arange(40)
    sides = [(5 + 7 * row % 90, 3 + 11 * row % 70) for row in rows.tolist()]
    ours = crop_boxes(draws(rows), sides, (0.08, 1.0), (3 / 4, 4 / 3))
    for row, pair in enumerate(sides):
        assert torch.equal(crop_boxes(draws(rows), [pair], (0.08, 1.0), (3 / 4, 4 / 3))[row], ours[row])
    assert bool((ours[:, :2] + ours[:, 2:] <= torch.tensor(sides)).all())


def test_pictures_without_more_detail_are_cropped_as_ever() -> None:
    given, view = batch((False, True, False, True)), RandomResizedCrop(SIZE, flip=0.5)
    made = view(given, draws(given.index))
    plain = view(replace(given, whole=None), draws(given.index))
    assert torch.equal(made.x[::2], plain.x[::2])
    assert torch.equal(made.extras[CROP][::2], plain.extras[CROP][::2])
    assert not torch.equal(made.x[1::2], plain.x[1::2])
    none = replace(given, whole=photos(torch.zeros(4, dtype=torch.bool)))
    assert torch.equal(view(none, draws(given.index)).x, plain.x)


def test_a_crop_does_not_hang_on_its_batch() -> None:
    given, view = batch(), RandomResizedCrop(SIZE, flip=0.5)
    together = view(given, draws(given.index)).x
    for row in range(3):
        whole = Photos(torch.tensor([True]), lambda row=row: [given.whole.pictures[row]])
        alone = Batch(given.x[[row]], given.index[[row]], whole=whole)
        assert torch.equal(view(alone, draws(alone.index)).x[0], together[row])


def test_chains_take_their_first_crop_from_photos_and_other_samples_end_them() -> None:
    given, crop = batch(), RandomResizedCrop(SIZE)
    chain = TwoViews(Compose((crop, ColorJitter(probability=0.0))), Compose((ColorJitter(probability=0.0), crop)))
    made = chain(given, draws(given.index))
    assert torch.equal(made.views[0], crop(given, draws(given.index).child(0).child(0)).x)
    plain = crop(replace(given, whole=None), draws(given.index).child(1).child(1)).x
    torch.testing.assert_close(made.views[1], plain, rtol=0, atol=1e-6)
    assert given.with_x(255 - given.x).whole is None
    assert torch.equal(made.x, given.x)


def test_photos_are_read_once_when_a_view_asks() -> None:
    asked = []

    def read() -> list[np.ndarray]:
        asked.append(1)
        return [np.zeros((30, 30, 3), np.uint8)]

    given = Batch(torch.zeros(1, 3, SIZE, SIZE, dtype=torch.uint8), torch.arange(1))
    given = replace(given, whole=Photos(torch.ones(1, dtype=torch.bool), read)).to("cpu")
    assert not asked
    TwoViews(RandomResizedCrop(8))(given, draws(given.index))
    assert len(asked) == 1
