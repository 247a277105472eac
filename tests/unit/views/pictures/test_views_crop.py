"""The crop's law and pixels against torchvision's."""

import pytest
import torch
from scipy.stats import ks_2samp
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms import functional as F

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError
from withstand.core.random import Draws, isolated
from withstand.views.pictures import crop

COUNT = 4000


def streams(count: int = COUNT, seed: int = 0) -> Draws:
    return Draws(seed, torch.arange(count))


def torchvisions(height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]) -> torch.Tensor:
    picture = torch.empty(1, height, width)
    with isolated("torchvision", height, width):
        boxes = [RandomResizedCrop.get_params(picture, list(scale), list(ratio)) for _ in range(COUNT)]
    return torch.tensor(boxes, dtype=torch.float32)


@pytest.mark.parametrize(
    ("height", "width", "scale", "ratio"),
    [
        (32, 32, (0.08, 1.0), (3 / 4, 4 / 3)),
        (256, 256, (0.2, 1.0), (3 / 4, 4 / 3)),
        (40, 90, (0.08, 1.0), (3 / 4, 4 / 3)),
        (90, 40, (0.6, 1.0), (0.5, 0.9)),
        (64, 64, (0.9, 1.0), (1.0, 4.0)),  # most tries fail, some samples fall back
    ],
)
def test_boxes_follow_torchvisions_law(height, width, scale, ratio):
    ours = crop.crop_boxes(streams(), [(height, width)], scale, ratio)
    theirs = torchvisions(height, width, scale, ratio)
    for name, of in {
        "area": lambda box: box[:, 2] * box[:, 3],
        "aspect": lambda box: box[:, 3] / box[:, 2],
        "top": lambda box: box[:, 0],
        "left": lambda box: box[:, 1],
        "bottom": lambda box: box[:, 0] + box[:, 2],
        "right": lambda box: box[:, 1] + box[:, 3],
    }.items():
        assert ks_2samp(of(ours).numpy(), of(theirs).numpy(), method="asymp").pvalue > 1e-3, name


def test_boxes_lie_inside_and_are_whole():
    boxes = crop.crop_boxes(streams(), [(30, 50)], (0.01, 1.0), (0.3, 3.0))
    assert torch.equal(boxes, boxes.round())
    top, left, height, width = boxes.unbind(1)
    assert height.min() >= 1
    assert width.min() >= 1
    assert top.min() >= 0
    assert left.min() >= 0
    assert (top + height).max() <= 30
    assert (left + width).max() <= 50


@pytest.mark.parametrize(
    ("height", "width", "ratio"), [(20, 100, (3 / 4, 4 / 3)), (100, 20, (3 / 4, 4 / 3)), (9, 9, (1.0, 2.0))]
)
def test_the_fallback_is_torchvisions_central_box(height, width, ratio):
    # A share of 4 of the area never fits, so that every sample falls back; the view itself refuses such a scale.
    ours = crop.crop_boxes(streams(5), [(height, width)], (4.0, 4.0), ratio)
    theirs = RandomResizedCrop.get_params(torch.empty(1, height, width), [4.0, 4.0], list(ratio))
    assert ours.tolist() == [list(theirs)] * 5


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    ("shape", "size"), [((3, 32, 32), 32), ((3, 61, 47), 24), ((1, 40, 30), (50, 17)), ((3, 300, 280), 224)]
)
def test_pixels_are_torchvisions(shape, size, interpolation):
    count = 12
    x = torch.rand(count, *shape, generator=torch.Generator().manual_seed(0))
    boxes = crop.crop_boxes(streams(count), [(shape[1], shape[2])], (0.05, 1.0), (0.5, 2.0))
    boxes[0] = torch.tensor((0, 0, shape[1], shape[2]))
    boxes[1] = torch.tensor((3, 5, 1, 1))
    output = (size, size) if isinstance(size, int) else size
    ours = crop.resized_crop(x, boxes, size, interpolation=interpolation)
    for picture, box, view in zip(x, boxes.int().tolist(), ours, strict=True):
        theirs = F.resized_crop(picture, *box, output, InterpolationMode(interpolation), antialias=True)
        assert (view - theirs.clamp(0, 1)).abs().max() < 1e-4


def test_bytes_give_the_pixels_of_floats():
    x = torch.randint(0, 256, (6, 3, 40, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    boxes = crop.crop_boxes(streams(6), [(40, 40)], (0.1, 1.0), (0.7, 1.4))
    of_bytes, of_floats = crop.resized_crop(x, boxes, 24), crop.resized_crop(x / 255, boxes, 24)
    assert torch.allclose(of_bytes, of_floats, atol=1e-6)


def test_large_bytes_are_within_one_step_of_torchvisions_and_of_floats():
    x = torch.randint(0, 256, (4, 3, 120, 150), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    boxes = crop.crop_boxes(streams(4), [(120, 150)], (0.1, 1.0), (0.7, 1.4))
    for picture, box, view in zip(x, boxes.int().tolist(), crop.resized_crop(x, boxes, 64), strict=True):
        theirs = F.resized_crop(picture, *box, (64, 64), antialias=True)
        assert (view - theirs / 255).abs().max() <= 1 / 255 + 1e-6
    in_floats = crop.resized_crop(x / 255, boxes, 64)
    assert (crop.resized_crop(x, boxes, 64) - in_floats).abs().max() <= 1 / 255 + 1e-6


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_both_ways_to_resize_agree(interpolation):
    x = torch.rand(3, 3, 110, 130, generator=torch.Generator().manual_seed(0))
    boxes = crop.crop_boxes(streams(3), [(110, 130)], (0.1, 1.0), (0.7, 1.4))
    flip = torch.tensor((True, False, True))
    products = torch.empty(3, 3, 48, 60)
    crop._resize(x, boxes, tuple(products.shape[2:]), interpolation, flip, products)
    assert (crop.resized_crop(x, boxes, (48, 60), flip=flip, interpolation=interpolation) - products).abs().max() < 1e-4


@pytest.mark.parametrize("side", [32, 160])
def test_the_flip_mirrors_the_crop(side):
    x = torch.rand(8, 3, side, side, generator=torch.Generator().manual_seed(0))
    boxes = crop.crop_boxes(streams(8), [(side, side)], (0.1, 1.0), (0.7, 1.4))
    plain = crop.resized_crop(x, boxes, 24)
    flip = torch.arange(8) % 3 == 0
    flipped = crop.resized_crop(x, boxes, 24, flip=flip)
    assert torch.allclose(flipped, crop.horizontal_flip(plain, flip), atol=1e-6)
    assert torch.equal(crop.horizontal_flip(plain, flip)[flip], F.hflip(plain[flip]))
    assert torch.equal(crop.horizontal_flip(plain, flip)[~flip], plain[~flip])


def test_flips_come_with_their_probability():
    x = torch.zeros(COUNT, 1, 2, 2)
    x[..., 0] = 1
    batch = Batch(x, torch.arange(COUNT))
    whole = crop.RandomResizedCrop(2, scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0.3)
    for view, chance in ((whole, 0.3), (crop.HorizontalFlip(0.5), 0.5)):
        flipped = view(batch, streams()).x[:, 0, 0, 0] == 0
        assert abs(flipped.float().mean().item() - chance) < 0.03


@pytest.mark.parametrize(
    "settings",
    [
        {"size": 0},
        {"size": (3, 4, 5)},
        {"size": 8, "scale": (0.5, 0.2)},
        {"size": 8, "scale": (0.5, 2.0)},
        {"size": 8, "ratio": (0.0, 1.0)},
        {"size": 8, "flip": 1.5},
        {"size": 8, "interpolation": "bilinaer"},
    ],
)
def test_wrong_settings_are_refused(settings):
    with pytest.raises(ConfigError):
        crop.RandomResizedCrop(**settings)
