"""Compression, choices, turns and native crops."""

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import Draws
from withstand.data.pictures.fashion_mnist.small import read_small
from withstand.views.pictures.choice import NativeCrop, OneOf, QuarterTurns
from withstand.views.pictures.colors.color_views import Greyscale
from withstand.views.pictures.compression import Compression, compressed
from withstand.views.pictures.rescaled import Rescaled


def photos(count: int = 12) -> Tensor:
    """Smooth color pictures of bytes, as floats."""
    ramp = torch.linspace(0, 1, 24)
    phase = torch.arange(count).view(-1, 1, 1, 1) / count + torch.arange(3).view(1, 3, 1, 1) / 3
    wave = 0.5 + 0.4 * torch.sin(6 * (ramp[:, None] * ramp + phase))
    return (wave * 255).round() / 255


def draws(count: int) -> Draws:
    return Draws(0, torch.arange(count))


@pytest.mark.parametrize("form", ["jpeg", "webp"])
def test_a_picture_comes_back_as_pillow_reads_it(form: str) -> None:
    x = photos(1)
    file = BytesIO()
    Image.fromarray((x[0] * 255).byte().permute(1, 2, 0).numpy()).save(file, form, quality=60)
    wanted = torch.from_numpy(np.array(Image.open(file).convert("RGB"))).permute(2, 0, 1)
    found = compressed(x, [form], [60])  # type: ignore[list-item]
    assert torch.equal((found[0] * 255).round().byte(), wanted)


@pytest.mark.parametrize("form", ["jpeg", "webp"])
def test_fine_qualities_change_little_and_coarse_ones_more(form: str) -> None:
    x = photos()
    lost = [
        float((compressed(x, [form] * 12, [quality] * 12) - x).abs().mean() * 255)  # type: ignore[list-item]
        for quality in (100, 10)
    ]
    assert lost[0] < 3 < lost[1]


def test_grey_pictures_keep_one_channel() -> None:
    x = torch.from_numpy(read_small("test")[0][:4]).unsqueeze(1) / 255
    for form in ("jpeg", "webp"):
        found = compressed(x, [form] * 4, [95] * 4)  # type: ignore[list-item]
        assert found.shape == x.shape
        assert float((found - x).abs().mean()) < 0.03


def test_each_picture_has_a_quality_of_its_own_whatever_its_company() -> None:
    view, x = Compression(quality=(5, 95)), photos()
    whole = view(Batch(x, torch.arange(12)), draws(12)).x
    alone = view(Batch(x[5:6], torch.tensor([5])), Draws(0, torch.tensor([5]))).x
    assert torch.equal(whole[5:6], alone)
    assert len({round(float(error), 6) for error in (whole - x).abs().mean((1, 2, 3))}) > 6


def test_a_probability_of_0_leaves_pictures_as_they_are() -> None:
    assert torch.equal(Compression(probability=0.0)(Batch(photos(), torch.arange(12)), draws(12)).x, photos())


@pytest.mark.parametrize("quality", [(0, 50), (60, 50), (50, 101), (50.0, 60)])
def test_bad_qualities(quality: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="quality"):
        Compression(quality=quality)


def test_bad_formats() -> None:
    with pytest.raises(ConfigError, match="jpeg"):
        Compression(("jpg",))  # type: ignore[arg-type]
    with pytest.raises(DataError, match="1 or 3 channels"):
        compressed(torch.rand(1, 2, 8, 8), ["jpeg"], [50])


def test_one_of_chooses_for_each_picture() -> None:
    view = OneOf((Greyscale(probability=1.0), QuarterTurns(1.0)))
    x = photos(40)
    found = view(Batch(x, torch.arange(40)), draws(40)).x
    grey = (found[:, 0] == found[:, 1]).flatten(1).all(1)
    assert 8 < int(grey.sum()) < 32
    turned = torch.stack([torch.rot90(x, count, (2, 3)) for count in (1, 2, 3)])
    same = (turned == found).flatten(2).all(2).any(0)
    assert bool((same ^ grey).all())


def test_oblong_pictures_are_turned_upside_down() -> None:
    x = photos()[:, :, :10]
    found = QuarterTurns(1.0)(Batch(x, torch.arange(12)), draws(12)).x
    assert torch.equal(found, x.flip(2, 3))


def test_native_crops_hold_pixels_as_they_are() -> None:
    x = torch.arange(24.0).view(1, 1, 1, 24).add(100 * torch.arange(24.0).view(1, 1, 24, 1)).expand(9, 1, 24, 24) / 2500
    found = NativeCrop(7)(Batch(x, torch.arange(9)), draws(9)).x
    assert found.shape == (9, 1, 7, 7)
    steps = (found[..., 1:] - found[..., :-1]) * 2500, (found[:, :, 1:] - found[:, :, :-1]) * 2500
    torch.testing.assert_close(steps[0], torch.ones(9, 1, 7, 6), atol=1e-3, rtol=0)
    torch.testing.assert_close(steps[1], torch.full((9, 1, 6, 7), 100.0), atol=1e-3, rtol=0)
    assert len({float(value) for value in found[:, 0, 0, 0]}) > 3
    assert torch.equal(NativeCrop(50)(Batch(x, torch.arange(9)), draws(9)).x, x)


def test_rescaled_pictures_lose_what_is_finest() -> None:
    x = photos()
    board = ((torch.arange(24)[:, None] + torch.arange(24)) % 2).float().expand(12, 3, 24, 24)
    view, index = Rescaled(0.5), torch.arange(12)
    assert float((view(Batch(x, index), draws(12)).x - x).abs().mean()) < 0.02
    assert float((view(Batch(board, index), draws(12)).x - 0.5).abs().mean()) < 0.1
    assert torch.equal(Rescaled(1.0)(Batch(x, index), draws(12)).x, x)
