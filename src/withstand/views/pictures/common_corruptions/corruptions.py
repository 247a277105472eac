"""The fifteen common corruptions (Hendrycks and Dietterich, 2019) in five severities, batched.

Settings are those of CIFAR-10-C, made for 32 x 32 pixels; on larger pictures the same settings are milder.
Two things differ from the published files: the frost is a texture computed here, for the photographs of frost
that were used there are not ours to ship, and JPEG is computed in torch, within rounding of libjpeg. Random
ones draw for each sample. Every result is cut to whole levels of 255, as the files are.

Shapes: pictures `(N, C, H, W)`, float in [0, 1]; one channel or three.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.random import Draws
from withstand.views.pictures.common_corruptions import corruption_filters as filters
from withstand.views.pictures.picture import PictureView

_LUMINANCE = """
16 11 10 16 24 40 51 61   12 12 14 19 26 58 60 55   14 13 16 24 40 57 69 56   14 17 22 29 51 87 80 62
18 22 37 56 68 109 103 77   24 35 55 64 81 104 113 92   49 64 78 87 103 121 120 101   72 92 95 98 112 100 103 99
"""
_CHROMINANCE = (
    """
17 18 24 47 99 99 99 99   18 21 26 66 99 99 99 99   24 26 56 99 99 99 99 99   47 66 99 99 99 99 99 99
"""
    + " 99" * 32
)
"""The quantization tables of the JPEG standard, annex K."""


def _gaussian_noise(x: Tensor, level: int, draws: Draws) -> Tensor:
    return x + draws.normal(*x.shape[1:]) * (0.04, 0.06, 0.08, 0.09, 0.10)[level]


def _shot_noise(x: Tensor, level: int, draws: Draws) -> Tensor:
    photons = (500, 250, 100, 75, 50)[level]
    return poisson(x * photons, draws.uniform(*x.shape[1:])) / photons


def _impulse_noise(x: Tensor, level: int, draws: Draws) -> Tensor:
    hit = draws.chance((0.01, 0.02, 0.03, 0.05, 0.07)[level], *x.shape[1:])
    return torch.where(hit, draws.chance(0.5, *x.shape[1:]).float(), x)


def _defocus_blur(x: Tensor, level: int, draws: Draws) -> Tensor:
    return filters.disk_blur(x, *((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1))[level])


def _glass_blur(x: Tensor, level: int, draws: Draws) -> Tensor:
    sigma, rounds = ((0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2))[level]
    tall, wide = (filters.gaussian_matrix(side, sigma, 4.0, mirrored=False).to(x) for side in x.shape[2:])
    x = _whole(filters.along_axes(x, tall, wide))
    height, width = x.shape[2:]
    row, column = torch.arange(height, device=x.device)[:, None], torch.arange(width, device=x.device)
    inside = (row > 1) & (column > 1)
    for _ in range(rounds):
        # Each pixel takes the color of one to its upper left. The published loop means to swap the two, but
        # its assignment reads through views and copies; it runs backward, so that it only reads old pixels.
        step = draws.integers(0, 2, 2, height, width) * inside
        x = filters.pick_pixels(x, row - step[:, 0], column - step[:, 1])
    return filters.along_axes(x, tall, wide)


def _motion_blur(x: Tensor, level: int, draws: Draws) -> Tensor:
    radius, sigma = ((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5))[level]
    return filters.motion_blur(x, radius, sigma, draws.uniform(1, low=-45, high=45)[:, 0])


def _zoom_blur(x: Tensor, level: int, draws: Draws) -> Tensor:
    count = (7, 12, 16, 21, 26)[level]  # factors 1, 1.01, 1.02 ...
    total = x.clone()
    for place in range(count):
        total += filters.zoom(x, 1 + place / 100)
    return total / (count + 1)


def _snow(x: Tensor, level: int, draws: Draws) -> Tensor:
    mean, deviation, size, least, radius, sigma, kept = (
        (0.1, 0.2, 1.0, 0.6, 8, 3.0, 0.95),
        (0.1, 0.2, 1.0, 0.5, 10, 4.0, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4.0, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6.0, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12.0, 0.8),
    )[level]
    flakes = filters.zoom(draws.normal(1, *x.shape[2:]) * deviation + mean, size)
    flakes = _whole(torch.where(flakes < least, 0, flakes))
    flakes = _whole(filters.motion_blur(flakes, radius, sigma, draws.uniform(1, low=-135, high=-45)[:, 0]))
    x = kept * x + (1 - kept) * torch.maximum(x, _grey(x) * 1.5 + 0.5)
    return x + flakes + flakes.flip(2, 3)


def _frost(x: Tensor, level: int, draws: Draws) -> Tensor:
    kept, added = ((1.0, 0.2), (1.0, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))[level]
    return kept * x + added * frost_texture(x, draws)


def _fog(x: Tensor, level: int, draws: Draws) -> Tensor:
    density, decay = ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75))[level]
    brightest = x.flatten(1).amax(1)[:, None, None, None]
    foggy = x + density * filters.plasma(x.shape[2], x.shape[3], decay, draws)
    return foggy * brightest / (brightest + density)


def _brightness(x: Tensor, level: int, draws: Draws) -> Tensor:
    value = x.amax(1, keepdim=True)  # the V of HSV; hue and saturation stay
    raised = (value + (0.05, 0.1, 0.15, 0.2, 0.3)[level]).clamp_max(1)
    return torch.where(value > 0, x * (raised / value.clamp_min(1e-6)), raised)


def _contrast(x: Tensor, level: int, draws: Draws) -> Tensor:
    return torch.lerp(x.mean((2, 3), keepdim=True), x, (0.75, 0.5, 0.4, 0.3, 0.15)[level])


def _elastic(x: Tensor, level: int, draws: Draws) -> Tensor:
    strength, sigma, shear = (
        (0, 0, 0.08),
        (0.05, 0.2, 0.07),
        (0.08, 0.06, 0.06),
        (0.1, 0.04, 0.05),
        (0.1, 0.03, 0.03),
    )[level]
    height, width = x.shape[2:]
    unit = min(height, width)
    middle, arm = torch.tensor([height // 2, width // 2]), unit // 3
    corners = (middle + arm * torch.tensor([[1, 1], [1, -1], [-1, -1]])).to(x)
    moved = corners + draws.uniform(3, 2, low=-shear * unit, high=shear * unit)
    ones = torch.ones(len(x), 3, 1, device=x.device)
    # The affine map that takes moved corners back: columns are for row, column and 1.
    back = torch.linalg.solve(torch.cat([moved, ones], 2), corners.expand(len(x), -1, -1))
    row, column = torch.meshgrid(*(torch.arange(side, device=x.device) for side in (height, width)), indexing="ij")
    grid = torch.stack([row, column, torch.ones_like(row)], -1).to(x).flatten(0, 1)
    place = (grid @ back).view(len(x), height, width, 2)
    x = filters.sample(x, place[..., 0], place[..., 1], mirrored=False)
    if not strength:
        return x
    tall, wide = (filters.gaussian_matrix(side, sigma * unit, 3.0, mirrored=True).to(x) for side in (height, width))
    field = filters.along_axes(draws.uniform(2, height, width, low=-1.0, high=1.0), tall, wide) * (strength * unit)
    return filters.sample(x, row + field[:, 0], column + field[:, 1], mirrored=True)


def _pixelate(x: Tensor, level: int, draws: Draws) -> Tensor:
    share = (0.95, 0.9, 0.85, 0.75, 0.65)[level]
    few = [max(int(side * share), 1) for side in x.shape[2:]]
    there = [filters.box_matrix(side, less).to(x) for side, less in zip(x.shape[2:], few, strict=True)]
    back = [filters.box_matrix(less, side).to(x) for side, less in zip(x.shape[2:], few, strict=True)]
    coarse = (filters.along_axes(x, *there) * 255).round() / 255
    return filters.along_axes(coarse, *back)


def _jpeg(x: Tensor, level: int, draws: Draws) -> Tensor:
    return jpeg(x, (80, 65, 58, 50, 40)[level])


CORRUPTIONS: dict[str, Callable[[Tensor, int, Draws], Tensor]] = {
    "gaussian_noise": _gaussian_noise,
    "shot_noise": _shot_noise,
    "impulse_noise": _impulse_noise,
    "defocus_blur": _defocus_blur,
    "glass_blur": _glass_blur,
    "motion_blur": _motion_blur,
    "zoom_blur": _zoom_blur,
    "snow": _snow,
    "frost": _frost,
    "fog": _fog,
    "brightness": _brightness,
    "contrast": _contrast,
    "elastic_transform": _elastic,
    "pixelate": _pixelate,
    "jpeg_compression": _jpeg,
}
"""`(x, severity - 1, draws) -> x` by the names of the published files; results are not yet clipped."""


@dataclass(frozen=True)
class Corruption(PictureView):
    """One common corruption of every picture.

    Args:
        kind: a name in `CORRUPTIONS`.
        severity: 1 to 5.
    """

    kind: str = "gaussian_noise"
    severity: int = 3

    def __post_init__(self) -> None:
        if self.kind not in CORRUPTIONS:
            raise ConfigError(f"corruption {self.kind!r} is unknown: {nearest(self.kind, CORRUPTIONS)}")
        if self.severity not in range(1, 6):
            raise ConfigError(f"severity is a whole number from 1 to 5, not {self.severity!r}")

    def change(self, x: Tensor, draws: Draws) -> Tensor:
        if x.shape[1] not in (1, 3):
            raise DataError(f"corruptions take pictures of 1 or 3 channels, not {x.shape[1]}")
        return _whole(CORRUPTIONS[self.kind](x, self.severity - 1, draws)) if len(x) else x


def poisson(rate: Tensor, uniform: Tensor) -> Tensor:
    """Return Poisson numbers with these rates: by inversion below 12, above by the Cornish-Fisher expansion.

    Args:
        rate: any shape.
        uniform: draws in [0, 1), same shape.
    """
    chance = torch.exp(-rate.clamp_max(12))
    total, count = chance.clone(), torch.zeros_like(rate)
    for value in range(1, 40):
        count += uniform >= total
        chance = chance * rate.clamp_max(12) / value
        total += chance
    normal = torch.special.ndtri(uniform.clamp(2**-25, 1 - 2**-24))
    many = rate + rate.sqrt() * normal + (normal**2 - 1) / 6
    return torch.where(rate < 12, count, many.round().clamp_min(0))


def frost_texture(x: Tensor, draws: Draws) -> Tensor:
    """Return bluish white frost in [0, 1], shaped like the pictures.

    Bright ridges run where one of two clouds crosses its middle, over a third cloud.
    """
    height, width = x.shape[2:]
    ridges = [1 - (2 * filters.plasma(height, width, 1.8, draws) - 1).abs() for _ in range(2)]
    cover = filters.plasma(height, width, 3.0, draws)
    ice = (0.35 * cover + 0.65 * torch.maximum(*ridges) ** 4).clamp(0, 1)
    return ice * ice.new_tensor((0.85, 0.93, 1.0) if x.shape[1] == 3 else (0.92,)).view(-1, 1, 1)


def jpeg(x: Tensor, quality: int) -> Tensor:
    """Compress as baseline JPEG does, halving the color channels' sides, and decompress.

    Args:
        x: pictures; where a side is no multiple of 16, the border is filled in another way than libjpeg's.
        quality: 1 to 100, of libjpeg's scale.
    """
    height, width = x.shape[2:]
    x = F.pad(_whole(x) * 255, (0, -width % 16, 0, -height % 16), mode="replicate")
    if x.shape[1] == 1:
        return _quantized(x, _LUMINANCE, quality)[:, :, :height, :width].round() / 255
    to = x.new_tensor([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
    shift = x.new_tensor([0.0, 128.0, 128.0])[:, None, None]
    planes = (torch.einsum("ij,njhw->nihw", to, x) + shift).round()
    bias = (1 + torch.arange(planes.shape[3] // 2, device=x.device) % 2) / 4  # libjpeg's, in place of rounding
    color = _quantized((F.avg_pool2d(planes[:, 1:], 2) + bias).floor(), _CHROMINANCE, quality)
    color = F.interpolate(color, scale_factor=2, mode="bilinear", align_corners=False)
    planes = torch.cat([_quantized(planes[:, :1], _LUMINANCE, quality), color], 1) - shift
    out = torch.einsum("ij,njhw->nihw", torch.linalg.inv(to), planes)
    return out[:, :, :height, :width].round().clamp(0, 255) / 255


def _quantized(planes: Tensor, table: str, quality: int) -> Tensor:
    """Round the cosine transform of every 8 x 8 block; levels 0 to 255."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    steps = planes.new_tensor([float(value) for value in table.split()]).view(8, 8)
    steps = ((steps * scale + 50) / 100).floor().clamp(1, 255)
    place = torch.arange(8, device=planes.device)
    cosines = torch.cos((2 * place + 1) * place[:, None] * (math.pi / 16)) * 0.5
    cosines[0] *= 0.5**0.5
    rows, columns = planes.shape[2] // 8, planes.shape[3] // 8
    blocks = planes.reshape(*planes.shape[:2], rows, 8, columns, 8).transpose(3, 4) - 128
    coefficients = (cosines @ blocks @ cosines.mT / steps).round() * steps
    blocks = cosines.mT @ coefficients @ cosines + 128
    return blocks.transpose(3, 4).reshape(planes.shape).round().clamp(0, 255)


def _grey(x: Tensor) -> Tensor:
    if x.shape[1] == 1:
        return x
    return (x * x.new_tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)


def _whole(x: Tensor) -> Tensor:
    """Return clipped pictures cut down to whole levels; the slack keeps whole levels what they are."""
    return (x.clamp(0, 1) * 255 + 1e-3).floor() / 255
