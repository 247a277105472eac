"""Color: brightness, contrast, saturation and hue by factors of each sample, and greyscale, solarize.

Every function gives torchvision's pixels at the same parameters, for all samples at once. With one
channel, brightness and contrast act; saturation, hue and greyscale have nothing to change.

Brightness, contrast and saturation are blends, and all three are `clamp(f x + s grey + c mean(grey))`
with three numbers a sample. So pictures in different orders of operations share one pass.
"""

import torch
from torch import Tensor

from withstand.core.errors import DataError
from withstand.views.pictures.picture import blocks, per_sample, tracked

LUMA = (0.2989, 0.587, 0.114)
"""Weights of red, green, blue in grey (ITU-R 601-2), to torchvision's digits: they sum to 0.9999."""

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
"""The operations by torchvision's numbers."""


def _has_color(x: Tensor) -> bool:
    """Return whether the pictures have three channels, not one."""
    if x.shape[1] not in (1, 3):
        raise DataError(f"color operations take pictures of 1 or 3 channels, not {x.shape[1]}")
    return x.shape[1] == 3


def _grey(x: Tensor) -> Tensor:
    """Return a new `(N, H, W)`."""
    if not _has_color(x):
        return x[:, 0].clone()
    red, green, blue = x.unbind(1)
    return (red * LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])


def _blend(x: Tensor, factor: Tensor, operation: Tensor, out: Tensor) -> None:
    """Apply BRIGHTNESS, CONTRAST or SATURATION, whichever each sample asks for.

    Args:
        x: `(N, C, H, W)`, float in [0, 1].
        factor: 1 changes nothing; 0 gives black, the mean grey or greyscale, `(N,)`.
        operation: `(N,)`.
        out: gets the result; may be `x`.
    """
    rest = 1 - factor
    contrast = torch.where(operation == CONTRAST, rest, 0)
    saturation = torch.where(operation == SATURATION, rest, 0)
    for block in blocks(x):
        grey = _grey(x[block])
        shift = contrast[block] * grey.mean((1, 2))
        grey.mul_(saturation[block, None, None]).add_(shift[:, None, None])
        if tracked(x):
            out[block] = (x[block] * per_sample(factor[block]) + grey[:, None]).clamp(0, 1)
            continue
        torch.mul(x[block], per_sample(factor[block]), out=out[block]).add_(grey[:, None]).clamp_(0, 1)


def _one_blend(x: Tensor, factor: Tensor, operation: int) -> Tensor:
    out = torch.empty_like(x)
    _blend(x, factor, torch.full_like(factor, operation), out)
    return out


def adjust_brightness(x: Tensor, factor: Tensor) -> Tensor:
    """Scale each picture towards black (0) or away from it: `clamp(f x)`; factor `(N,)`."""
    return _one_blend(x, factor, BRIGHTNESS)


def adjust_contrast(x: Tensor, factor: Tensor) -> Tensor:
    """Blend each picture with its mean grey: `clamp(f x + (1 - f) mean)`; factor `(N,)`."""
    return _one_blend(x, factor, CONTRAST)


def adjust_saturation(x: Tensor, factor: Tensor) -> Tensor:
    """Blend each picture with its greyscale: `clamp(f x + (1 - f) grey)`; factor `(N,)`."""
    return _one_blend(x, factor, SATURATION)


def adjust_hue(x: Tensor, shift: Tensor) -> Tensor:
    """Turn each picture's hue, keeping HSV saturation and value.

    Args:
        x: `(N, C, H, W)`, float in [0, 1].
        shift: parts of a full turn, `(N,)`; 1/2 gives the opposite hues.
    """
    x = x.clone()
    if _has_color(x):
        _turn_hue(x, shift)
    return x


def _turn_hue(x: Tensor, shift: Tensor) -> None:
    """Do `adjust_hue` in place."""
    if tracked(x):
        x.copy_(_turned(x, shift))
        return
    for block in blocks(x):
        _turn_block(x[block], shift[block])


def _turn_block(x: Tensor, shift: Tensor) -> None:
    """Do the work on planes `(N, H, W)`, in as few buffers as will do."""
    red, green, blue = x.unbind(1)
    value = torch.maximum(red, green)
    torch.maximum(value, blue, out=value)
    least = torch.minimum(red, green)
    torch.minimum(least, blue, out=least)
    chroma = torch.sub(value, least).clamp_(min=1e-12)  # greys have no hue, and must not divide by 0
    # Hue in sixths, in [-3, 3], without cases: its size is 1 + (g + b - r - least) / chroma, its sign that of g - b.
    hue = (green + blue).sub_(red).sub_(least)
    buffer = green - blue
    hue.div_(chroma).add_(1).copysign_(buffer).add_(shift.view(-1, 1, 1), alpha=6)
    hue.sub_(torch.mul(hue, 1 / 6, out=buffer).floor_(), alpha=6)  # into [0, 6]
    # Each channel is a trapezium over the hue: full within 1 of its own place, nothing beyond 2.
    below, above = least.sub_(chroma), value.add_(chroma)
    torch.addcmul(below, chroma, torch.sub(hue, 3, out=buffer).abs_().clamp_(1, 2), out=red)
    torch.addcmul(above, chroma, torch.sub(hue, 2, out=buffer).abs_().clamp_(1, 2), value=-1, out=green)
    torch.addcmul(above, chroma, torch.sub(hue, 4, out=buffer).abs_().clamp_(1, 2), value=-1, out=blue)
    x.clamp_(0, 1)


def _turned(x: Tensor, shift: Tensor) -> Tensor:
    """Return what `_turn_block` writes, by steps that can be differentiated."""
    x = x.clone()  # the caller's will be overwritten
    red, green, blue = x.unbind(1)
    value, least = x.amax(1), x.amin(1)
    chroma = (value - least).clamp(min=1e-12)
    side = green - blue
    hue = ((green + blue - red - least) / chroma + 1).copysign(side.detach()) + 6 * shift.view(-1, 1, 1)
    hue = hue - 6 * (hue / 6).floor()
    below, above = least - chroma, value + chroma
    return torch.stack(
        (
            below + chroma * (hue - 3).abs().clamp(1, 2),
            above - chroma * (hue - 2).abs().clamp(1, 2),
            above - chroma * (hue - 4).abs().clamp(1, 2),
        ),
        dim=1,
    ).clamp(0, 1)


def color_jitter(x: Tensor, factors: Tensor, order: Tensor) -> Tensor:
    """Apply the four operations to each picture in its own order.

    Args:
        x: `(N, C, H, W)`, float in [0, 1].
        factors: brightness, contrast, saturation factors and hue shift, `(N, 4)`.
        order: a permutation of (BRIGHTNESS, CONTRAST, SATURATION, HUE) a sample, `(N, 4)`.
    """
    turn = (order == HUE).int().argmax(1)  # how many blends come before the hue
    rows = turn.argsort()
    return torch.empty_like(x).index_copy_(0, rows, jitter_sorted(x[rows], factors[rows], order[rows], turn[rows]))


def jitter_sorted(x: Tensor, factors: Tensor, order: Tensor, turn: Tensor) -> Tensor:
    """Do `color_jitter` in place on samples sorted by `turn`, the place of the hue in their order.

    Samples with the hue at place p take blends 0..p-1 before it and the others after it. Sorted, those
    that take blend k on either side are one slice, so the hue is done once, for all.
    """
    operations = order[order != HUE].view(-1, 3)
    chosen = factors.gather(1, operations)
    after = [int((turn <= place).sum()) for place in range(3)]

    def blend(place: int, rows: slice) -> None:
        _blend(x[rows], chosen[rows, place], operations[rows, place], x[rows])

    for place, first in enumerate(after):
        blend(place, slice(first, None))
    if _has_color(x):
        _turn_hue(x, factors[:, HUE])
    for place, last in enumerate(after):
        blend(place, slice(last))
    return x


def greyscale(x: Tensor) -> Tensor:
    """Return the pictures' grey, in every channel."""
    return _grey(x)[:, None].expand_as(x).contiguous()


def solarize(x: Tensor, threshold: Tensor) -> Tensor:
    """Invert the pixels at or above each picture's threshold, `(N,)`."""
    return torch.where(x >= per_sample(threshold), 1 - x, x)
