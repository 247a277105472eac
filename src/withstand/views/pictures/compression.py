"""Lossy compression in memory, JPEG or WebP, each picture at a quality of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Literal, TypeAlias, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.random import Draws
from withstand.views.pictures.picture import PictureView, check_probability, rows_where

Format: TypeAlias = Literal["jpeg", "webp"]
"""How pictures are compressed."""


@dataclass(frozen=True)
class Compression(PictureView):
    """Write a picture in a lossy format and read it again, with a probability.

    A picture's format and quality are drawn evenly. Results are whole levels of 255, as a file's are; the codec is
    Pillow's, with colors at half the sides as it writes them by default. Gradients do not go through.

    Args:
        formats: "jpeg", "webp", or both.
        quality: lowest and highest, whole numbers of 1 to 100 on the format's own scale.
        probability: chance that a picture is compressed.
    """

    formats: tuple[Format, ...] = ("jpeg", "webp")
    quality: tuple[int, int] = (50, 95)
    probability: float = 1.0

    def __post_init__(self) -> None:
        check_probability("probability", self.probability)
        if not self.formats:
            raise ConfigError("formats must name jpeg, webp or both")
        for form in self.formats:
            if form not in get_args(Format):
                raise ConfigError(f"format {form!r} is unknown: {nearest(str(form), get_args(Format))}")
        _check_quality(self.quality)

    def change(self, x: Tensor, draws: Draws) -> Tensor:
        if not len(x):
            return x
        low, high = self.quality
        quality = draws.integers(low, high + 1, 1)[:, 0]
        form = draws.integers(0, len(self.formats), 1)[:, 0]
        rows = rows_where(draws.chance(self.probability, 1)[:, 0])
        formats = [self.formats[place] for place in form[rows].tolist()]
        return x.index_copy_(0, rows, compressed(x[rows], formats, quality[rows].tolist())) if len(rows) else x


def compressed(x: Tensor, formats: Sequence[Format], quality: Sequence[int]) -> Tensor:
    """Return pictures as they come back from files, float in [0, 1].

    Args:
        x: `(N, C, H, W)`, float in [0, 1], one channel or three.
        formats: of each picture.
        quality: of each picture, 1 to 100.

    Raises:
        DataError: pictures of another number of channels, or larger than the format holds.
    """
    if x.dim() != 4 or x.shape[1] not in (1, 3):
        raise DataError(f"compression takes pictures (N, C, H, W) of 1 or 3 channels, not {tuple(x.shape)}")
    levels = (x.detach() * 255).round().clamp(0, 255).to("cpu", torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    # WebP has no grey: Pillow writes such a picture in three channels, whose luminance is read.
    made = [_written(*picture) for picture in zip(levels, formats, quality, strict=True)]
    out = torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2) if made else torch.empty(x.shape)
    return (out.to(x.device, x.dtype) / 255).contiguous()


def _written(picture: NDArray[np.uint8], form: str, quality: int) -> NDArray[np.uint8]:
    grey = picture.shape[2] == 1
    file = BytesIO()
    try:
        Image.fromarray(picture[:, :, 0] if grey else picture).save(file, form.upper(), quality=int(quality))
    except OSError as error:
        raise DataError(f"a picture of {picture.shape[:2]} pixels cannot be written as {form}: {error}") from None
    read = Image.open(file, formats=(form.upper(),))
    return np.asarray(read.convert("L") if grey else read.convert("RGB")).reshape(picture.shape)


def _check_quality(quality: tuple[int, int]) -> None:
    whole = len(quality) == 2 and all(isinstance(one, int) and not isinstance(one, bool) for one in quality)
    if not whole or not 1 <= quality[0] <= quality[1] <= 100:
        raise ConfigError(f"quality must be (lowest, highest), whole numbers from 1 to 100, not {quality!r}")
