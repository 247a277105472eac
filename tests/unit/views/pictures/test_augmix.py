"""AugMix: each picture's own draws, changes as Pillow makes them, and a mean that stays in range."""

import pytest
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor, to_pil_image

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError
from withstand.core.random import Draws
from withstand.views.pictures.augmix import OPERATIONS, AugMix


def bytes_of(count: int = 6, side: int = 16) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(20, 230, (count, 3, side, side), dtype=torch.uint8, generator=generator)


def changed(name: str, x: Tensor, level: float, sign: float = 1.0) -> Tensor:
    many = len(x)
    return OPERATIONS[name](x.float() / 255, torch.full((many,), level), torch.full((many,), sign))


@pytest.mark.parametrize("level", [0.1, 3.0, 9.9])
def test_changes_of_colors_are_pillows(level: float) -> None:
    x = bytes_of()
    pillows = {
        "autocontrast": ImageOps.autocontrast,
        "equalize": ImageOps.equalize,
        "posterize": lambda image: ImageOps.posterize(image, 4 - int(level * 4 / 10)),
        "solarize": lambda image: ImageOps.solarize(image, 256 - int(level * 256 / 10)),
    }
    for name, change in pillows.items():
        wanted = torch.stack([pil_to_tensor(change(to_pil_image(one))) for one in x])
        apart = (changed(name, x, level) * 255).round() - wanted
        assert apart.abs().max() <= (1 if name == "autocontrast" else 0), name


def _moved(image: Image.Image, matrix: tuple[float, ...], how: Image.Resampling) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix, how)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_moves_are_pillows_away_from_the_border(sign: float) -> None:
    x = bytes_of(2, 32)
    level = 8.0
    affine = {
        "shear-x": (1, 0.03 * level * sign, 0, 0, 1, 0),
        "shear-y": (1, 0, 0, 0.03 * level * sign, 1, 0),
        "translate-x": (1, 0, int(level * 32 / 30) * sign, 0, 1, 0),
        "translate-y": (1, 0, 0, 0, 1, int(level * 32 / 30) * sign),
    }
    for name, matrix in affine.items():
        found = changed(name, x, level, sign) * 255
        for one, own in zip(x, found, strict=True):
            image = to_pil_image(one)
            wanted = pil_to_tensor(
                image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
            )
            inside = pil_to_tensor(_moved(Image.new("L", image.size, 255), matrix, Image.Resampling.NEAREST))[0] > 0
            inside[[0, -1]] = inside[:, [0, -1]] = False
            gap = (own - wanted).abs().amax(0)[inside]
            assert (gap < 2).float().mean() > 0.95, name
    turned = changed("rotate", x, level, sign)
    image = to_pil_image(x[0]).rotate(24 * sign, Image.Resampling.BILINEAR)
    middle = slice(8, -8)
    apart = (turned[0] * 255 - pil_to_tensor(image))[:, middle, middle].abs()
    assert apart.max() < 2


def test_a_level_too_low_to_turn_gives_the_picture_back() -> None:
    x = bytes_of().float() / 255
    same = AugMix(0.1, operations=("rotate", "translate-x")).change(x.clone(), Draws(0, torch.arange(6)))
    torch.testing.assert_close(same, x)


def test_a_picture_hangs_on_no_other_and_stays_in_range() -> None:
    x, view = bytes_of(), AugMix(3.0)
    index = torch.arange(6)
    whole = view(Batch(x, index), Draws(1, index)).x
    for rows in ([2], [5, 0]):
        part = view(Batch(x[rows], index[rows]), Draws(1, index[rows])).x
        torch.testing.assert_close(part, whole[rows])
    assert 0 <= float(whole.min()) <= float(whole.max()) <= 1
    assert (whole - x / 255).abs().amax((1, 2, 3)).min() > 0.005
    assert (whole[1:] - whole[:1]).abs().amax((1, 2, 3)).min() > 0.1, "views of picture 0 for all would be a mistake"


def test_the_mean_is_convex_and_its_shares_are_uniform() -> None:
    many = 4000
    x = torch.full((many, 1, 4, 4), 0.5)
    dark = AugMix(10.0, depth=(1, 1), operations=("equalize",)).change(x.clone(), Draws(0, torch.arange(many)))
    torch.testing.assert_close(dark, (x * 255).round() / 255, atol=3e-3, rtol=0)
    bright = torch.full((many, 1, 4, 4), 1.0)
    inverted = AugMix(10.0, depth=(1, 1), operations=("solarize",)).change(bright, Draws(0, torch.arange(many)))
    own = inverted[:, 0, 0, 0]  # inverted to black: what is left is what the picture itself weighs
    assert abs(float(own.mean()) - 0.5) < 0.02
    assert abs(float(own.var()) - 1 / 12) < 0.01


def test_settings_out_of_range_are_refused() -> None:
    for wrong, words in (
        ({"severity": 0.0}, "severity"),
        ({"chains": 0}, "chains"),
        ({"depth": (2, 1)}, "depth"),
        ({"operations": ("rotat",)}, "'rotate'"),
        ({"operations": ()}, "one change or more"),
    ):
        with pytest.raises(ConfigError, match=words):
            AugMix(**wrong)  # type: ignore[arg-type]
