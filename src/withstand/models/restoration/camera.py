"""A camera's color pipeline, both ways: RAW values to sRGB pictures, and un-processed back.

Of a RAW value, forward: digital gain and white balance, the camera's colors to sRGB's, gamma, tone curve. Back, the
same steps inverted in turn (Brooks et al., Unprocessing images for learned raw denoising, 2019). Sizes: `B` pictures.
"""

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from withstand.core.errors import ConfigError
from withstand.core.part import Part
from withstand.core.random import Draws

Matrix: TypeAlias = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]

_TINY = 1e-8
_BRIGHT = 0.9
"""Above this, highlights are kept: inverted gains would make grey of what was white."""
_RED, _BLUE, _DIGITAL = (1.9, 2.4), (1.5, 1.9), (0.8, 0.1)
_SHOT, _READ = (1e-4, 0.012), (2.18, 1.20, 0.26)
_XYZ_TO_CAMERA = (
    ((1.0234, -0.2969, -0.2266), (-0.5625, 1.6328, -0.0469), (-0.0703, 0.2188, 0.6406)),
    ((0.4913, -0.0541, -0.0202), (-0.613, 1.3513, 0.2906), (-0.1564, 0.2151, 0.7183)),
    ((0.838, -0.263, -0.0639), (-0.2887, 1.0725, 0.2496), (-0.0627, 0.1427, 0.5438)),
    ((0.6596, -0.2079, -0.0562), (-0.4782, 1.3016, 0.1933), (-0.097, 0.1581, 0.5181)),
)
"""Of the four cameras of the Darmstadt noise dataset, by their color matrices as DNG files hold them."""
SRGB_TO_XYZ = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)


class Colors(NamedTuple):
    """Settings of a pipeline, one camera for all pictures or one for each.

    Attributes:
        matrix: linear sRGB to the camera's colors, `(B or 1, 3, 3)`, whose rows sum to 1.
        gains: of red, green and blue, the digital gain among them, `(B or 1, 3)`.
        gamma: the exponent's inverse; 1 for none.
        tone: whether there is a tone curve, the smooth step of 3 x^2 - 2 x^3.
    """

    matrix: Tensor
    gains: Tensor
    gamma: float
    tone: bool


@dataclass(frozen=True)
class Camera(Part):
    """One camera's settings. The defaults are the middle of what un-processing draws.

    Args:
        red: white balance's gain of red, over green's.
        blue: of blue.
        gain: digital gain of all colors.
        matrix: linear sRGB to the camera's colors, rows that sum to 1; None for the mean of four cameras.
        gamma: the exponent's inverse.
        tone: whether there is a tone curve.

    Raises:
        ConfigError: a gain or gamma that is not above 0, or a matrix that has no inverse or makes colors of grey.
    """

    red: float = sum(_RED) / 2
    blue: float = sum(_BLUE) / 2
    gain: float = 1 / _DIGITAL[0]
    matrix: Matrix | None = None
    gamma: float = 2.2
    tone: bool = True

    def __post_init__(self) -> None:
        for name in ("red", "blue", "gain", "gamma"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(f"{name} must be above 0 and finite, not {getattr(self, name)!r}")
        if self.matrix is not None:
            rows = torch.tensor(self.matrix, dtype=torch.float64)
            if rows.shape != (3, 3) or not bool(rows.isfinite().all()) or abs(float(torch.linalg.det(rows))) < 1e-6:
                raise ConfigError(f"matrix must be three rows of three numbers with an inverse, not {self.matrix!r}")
            if float((rows.sum(1) - 1).abs().max()) > 1e-3:
                sums = [round(value, 4) for value in rows.sum(1).tolist()]
                raise ConfigError(f"matrix must keep grey, so that its rows sum to 1, not to {sums}")

    def colors(self) -> Colors:
        """Return the settings as tensors, in float64, of one camera for all pictures."""
        matrix = _mean_matrix() if self.matrix is None else torch.tensor(self.matrix, dtype=torch.float64)
        gains = torch.tensor([[self.red, 1.0, self.blue]], dtype=torch.float64) * self.gain
        return Colors(matrix[None], gains, self.gamma, self.tone)

    def drawn(self, draws: Draws) -> Colors:
        """Return a camera for each picture by the published law; gamma and tone curve are this one's."""
        weights = (draws.child("matrix").uniform(4).double() + _TINY).cpu()
        matrix = normalised(torch.einsum("bk,kij->bij", weights / weights.sum(1, keepdim=True), _matrices()))
        gains = draws.child("gains").uniform(2).double().cpu()
        red, blue = (low + (high - low) * gains[:, at] for at, (low, high) in enumerate((_RED, _BLUE)))
        digital = (_DIGITAL[0] + _DIGITAL[1] * draws.child("digital").normal(1)[:, 0].double().cpu()).clamp_min(0.1)
        return Colors(
            matrix, torch.stack([red, torch.ones_like(red), blue], 1) / digital[:, None], self.gamma, self.tone
        )


def normalised(srgb_to_camera: Tensor) -> Tensor:
    """Return matrices `(..., 3, 3)` whose rows sum to 1, so that grey stays grey."""
    return srgb_to_camera / srgb_to_camera.sum(-1, keepdim=True)


def unprocess(x: Tensor, colors: Colors, *, clip: bool = True) -> Tensor:
    """Return the linear values, in the camera's colors, that sRGB pictures `(B, 3, H, W)` in [0, 1] were made of.

    Args:
        x: the pictures.
        colors: the pipeline that is inverted.
        clip: hold values in [0, 1] and keep highlights, as published; else every step is a plain inverse.
    """
    matrix, gains = colors.matrix.to(x), colors.gains.to(x)
    if colors.tone:
        x = 0.5 - torch.sin(torch.asin((1 - 2 * x).clamp(-1, 1)) / 3)
    x = _mixed(x.clamp_min(_TINY) ** colors.gamma, matrix)
    back = 1 / gains[:, :, None, None]
    if not clip:
        return x * back
    x = x.clamp(0, 1)
    bright = ((x.mean(1, keepdim=True) - _BRIGHT).clamp_min(0) / (1 - _BRIGHT)).square()
    return (x * torch.maximum(bright + (1 - bright) * back, back)).clamp(0, 1)


def process(x: Tensor, colors: Colors, *, clip: bool = True) -> Tensor:
    """Return the sRGB pictures in [0, 1] of linear values `(B, 3, H, W)` in the camera's colors.

    Args:
        x: the values.
        colors: the pipeline.
        clip: hold values in [0, 1] between the steps; else only the gamma's base is held above 0.
    """
    x = x * colors.gains.to(x)[:, :, None, None]
    x = _mixed(x.clamp(0, 1) if clip else x, torch.linalg.inv(colors.matrix).to(x))
    # The power's slope has no bound at 0.
    x = x.clamp(_TINY, 1 if clip else None) ** (1 / colors.gamma)
    return x * x * (3 - 2 * x) if colors.tone else x


def sensor_noise(raw: Tensor, draws: Draws) -> Tensor:
    """Return RAW values `(B, ...)` with shot and read noise of levels drawn for each picture, in [0, 1].

    The variance is shot * value + read; log shot is uniform, and log read normal round a line of it.
    """
    low, high = torch.tensor(_SHOT, dtype=torch.float64).log().tolist()
    log_shot = draws.child("shot").uniform(1, low=low, high=high)
    slope, offset, spread = _READ
    read = (slope * log_shot + offset + spread * draws.child("read").normal(1)).exp()
    sides = [-1, *[1] * (raw.dim() - 1)]
    variance = log_shot.exp().view(sides).to(raw) * raw + read.view(sides).to(raw)
    return (raw + variance.sqrt() * draws.child("noise").normal(*raw.shape[1:]).to(raw)).clamp(0, 1)


def _mixed(x: Tensor, matrix: Tensor) -> Tensor:
    return torch.einsum("bij,bjhw->bihw", matrix.expand(len(x), 3, 3), x)


@cache
def _matrices() -> Tensor:
    return torch.tensor(_XYZ_TO_CAMERA, dtype=torch.float64) @ torch.tensor(SRGB_TO_XYZ, dtype=torch.float64)


def _mean_matrix() -> Tensor:
    return normalised(_matrices().mean(0))
