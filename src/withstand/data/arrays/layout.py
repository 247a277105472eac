"""How an array's axes are read: pictures in one of three layouts, or rows of anything else.

The rule for `layout="auto"`, by the array's whole shape (N samples) and type:

| axes | type | read as |
|---|---|---|
| 2, or 5 and more | any number | `rows`: passed through |
| 3 | uint8 | `NHW`: grey pictures |
| 3 | any other | `rows`: windows `(N, time, channels)` |
| 4, with 1 or 3 channels in the second axis | uint8, float | `NCHW` |
| 4, with 1 or 3 channels in the last axis | uint8, float | `NHWC` |
| 4, with 1 or 3 in both of these, or in none | any | refused: say which |
"""

from typing import Literal, TypeAlias, cast

import torch
from torch import Tensor

from withstand.core.errors import DataError, nearest
from withstand.data.shared.rounding import Rounding

Layout: TypeAlias = Literal["NCHW", "NHWC", "NHW", "rows"]
LAYOUTS: tuple[Layout, ...] = ("NCHW", "NHWC", "NHW", "rows")
_TOP = torch.finfo(torch.float32).max
_AXES = {"NCHW": 4, "NHWC": 4, "NHW": 3}


def find_layout(shape: tuple[int, ...], dtype: torch.dtype, layout: str = "auto") -> Layout:
    """Return how an array of `shape` (N first) is to be read, by the rule in the module's docstring.

    Raises:
        DataError: no samples, an axis of length 0, an unknown layout, one that does not fit, or doubt.
    """
    if len(shape) < 2 or 0 in shape:
        raise DataError(f"x has shape {shape}: it needs samples along the first axis and values along others")
    if layout in _AXES:
        if len(shape) != _AXES[layout]:
            raise DataError(f"x has shape {shape}, but layout {layout!r} has {_AXES[layout]} axes")
        if dtype != torch.uint8 and not dtype.is_floating_point:
            raise DataError(f"x holds {_plain(dtype)}: pictures are uint8, or float in [0, 1]")
        return cast(Layout, layout)
    if layout not in ("auto", "rows"):
        raise DataError(f"unknown layout {layout!r}: {nearest(layout, ['auto', *LAYOUTS])}")
    if layout == "rows" or len(shape) not in (3, 4):
        return "rows"
    if len(shape) == 3:
        return "NHW" if dtype == torch.uint8 else "rows"
    first, last = shape[1] in (1, 3), shape[3] in (1, 3)
    if first == last:
        said = "either the second or the last axis" if first else "neither the second nor the last axis"
        raise DataError(f"x has shape {shape}, where {said} can be channels: say layout='NCHW', 'NHWC' or 'rows'")
    return find_layout(shape, dtype, "NCHW" if first else "NHWC")


_FEW_LEVELS = 16
"""Up to how many levels of bytes float pictures are told to be dark."""


def check_values(x: Tensor, layout: Layout, index: Tensor) -> None:
    """Refuse NaN, infinity and what single precision cannot hold, and float pictures outside [0, 1].

    Args:
        x: samples `(B, ...)`.
        layout: how they are read.
        index: their numbers `(B,)`, for the message.
    """
    if not x.is_floating_point():
        return
    # One reduction finds all of it: NaN and infinity show in the extremes.
    low, high = (float(end) for end in x.aminmax())
    if not -_TOP <= low <= high <= _TOP:
        bad = ~(x.abs() <= _TOP).flatten(1).all(1)
        raise DataError(f"x holds NaN or infinity, first in sample {int(index[bad][0])}: drop or fill such values")
    if layout != "rows" and (low < 0 or high > 1):
        raise DataError(
            f"x holds float pictures from {low:.3g} to {high:.3g}: they must lie in [0, 1] "
            "(undo the normalization, or divide by 255), or be passed through with layout='rows'"
        )


class Narrowed:
    """What single precision, or bytes of pictures, make of floats; `told` says where their differences are lost.

    Args:
        layout: how samples are read.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout, self._top, self._rows = layout, 0.0, Rounding()

    def see(self, x: Tensor) -> None:
        """Look at samples `(B, ...)`, some after the others."""
        if self._layout == "rows":
            self._rows.see(x.flatten(1))
        elif x.is_floating_point():
            self._top = max(self._top, float(x.max()))

    @property
    def told(self) -> str:
        """A warning in words, "" where none is needed."""
        levels = round(self._top * 255) + 1
        if self._top == 0 or levels > _FEW_LEVELS:
            return self._rows.told
        return (
            f"its pictures are floats up to {self._top:.3g}, and become bytes: {levels} levels of 256 are left. Divide "
            "by their largest value"
        )


def arrange(x: Tensor, layout: Layout) -> Tensor:
    """Return pictures as contiguous uint8 `(B, C, H, W)`; rows as they are, floats in single precision."""
    if layout == "rows":
        return x.float() if x.is_floating_point() else x
    if layout == "NHW":
        x = x.unsqueeze(1)
    elif layout == "NHWC":
        x = x.permute(0, 3, 1, 2)
    if x.is_floating_point():
        x = x.mul(255).round_().to(torch.uint8)
    return x.contiguous()


def sample_shape(shape: tuple[int, ...], layout: Layout) -> tuple[int, ...]:
    """Return one arranged sample's shape for an array of `shape` (N first)."""
    if layout == "NHW":
        return (1, *shape[1:])
    return (shape[3], *shape[1:3]) if layout == "NHWC" else shape[1:]


def sample_kind(shape: tuple[int, ...], layout: Layout) -> str:
    """Return what one arranged sample of `shape` is, in a word: a picture, a row, a window of time, or a sample."""
    return "picture" if layout != "rows" else {1: "row", 2: "window"}.get(len(shape), "sample")


def _plain(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
