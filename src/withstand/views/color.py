"""Color: brightness, contrast, saturation and hue by factors of each sample, and greyscale, solarize.

Every function gives torchvision's pixels at the same parameters, for all samples at once. With one
channel, brightness and contrast act; saturation, hue and greyscale have nothing to change.

Brightness, contrast and saturation are blends, and all three are `clamp(M x + d)` with one 3 x 3 matrix
`M` and one number `d` a sample. So pictures in different orders of operations share one product.
"""

import torch
from torch import Tensor

from withstand.core.errors import DataError
from withstand.views.picture import per_sample

LUMA = (0.2989, 0.587, 0.114)
"""Weights of red, green, blue in grey (ITU-R 601-2), to torchvision's digits: they sum to 0.9999."""

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
"""The operations by torchvision's numbers."""


def _luma(x: Tensor) -> Tensor:
    """Return the grey weights of the channels, `(C,)`."""
    if x.shape[1] not in (1, 3):
        raise DataError(f"color operations take pictures of 1 or 3 channels, not {x.shape[1]}")
    return x.new_tensor(LUMA if x.shape[1] == 3 else (1.0,))


def blend(x: Tensor, factor: Tensor, operation: Tensor) -> Tensor:
    """Apply brightness, contrast or saturation, whichever each sample asks for.

    Args:
        x: `(N, C, H, W)`, float in [0, 1].
        factor: 1 changes nothing, 0 gives black, uniform grey or greyscale, `(N,)`.
        operation: BRIGHTNESS, CONTRAST or SATURATION, `(N,)`.

    Returns:
        A new tensor, clamped to [0, 1].
    """
    luma = _luma(x)
    rest = 1 - factor
    contrast = torch.where(operation == CONTRAST, rest, 0)
    saturation = torch.where(operation == SATURATION, rest, 0)
    matrix = factor[:, None, None] * torch.eye(len(luma), device=x.device) + saturation[:, None, None] * luma
    shift = contrast * (x.mean((2, 3)) @ luma)
    flat = torch.baddbmm(shift[:, None, None], matrix, x.flatten(2))
    return flat.clamp_(0, 1).view_as(x)


def adjust_brightness(x: Tensor, factor: Tensor) -> Tensor:
    """Scale each picture towards black (0) or away from it: `clamp(f x)`; factor `(N,)`."""
    return blend(x, factor, torch.full_like(factor, BRIGHTNESS))


def adjust_contrast(x: Tensor, factor: Tensor) -> Tensor:
    """Blend each picture with its mean grey: `clamp(f x + (1 - f) mean)`; factor `(N,)`."""
    return blend(x, factor, torch.full_like(factor, CONTRAST))


def adjust_saturation(x: Tensor, factor: Tensor) -> Tensor:
    """Blend each picture with its greyscale: `clamp(f x + (1 - f) grey)`; factor `(N,)`."""
    return blend(x, factor, torch.full_like(factor, SATURATION))


def adjust_hue(x: Tensor, shift: Tensor) -> Tensor:
    """Turn each picture's hue, keeping HSV saturation and value.

    Args:
        x: `(N, C, H, W)`, float in [0, 1].
        shift: parts of a full turn, `(N,)`; 1/2 gives the opposite hues.
    """
    if len(_luma(x)) == 1:
        return x.clone()
    red, green, blue = x.unbind(1)
    value = torch.maximum(red, green)
    value = torch.maximum(value, blue, out=value)
    least = torch.minimum(red, green)
    least = torch.minimum(least, blue, out=least)
    chroma = value - least
    # Hue in sixths, in [-3, 3], without cases: its size is 1 + (g + b - r - least) / chroma, its sign that of g - b.
    hue = (green + blue).sub_(red).sub_(least).div_(chroma.clamp_min(1e-12)).add_(1)
    hue.copysign_(green - blue).add_(shift.view(-1, 1, 1), alpha=6)
    hue.sub_((hue * (1 / 6)).floor_(), alpha=6)  # into [0, 6]
    # Each channel is a trapezium over the hue: full within 1 of its own place, none beyond 2.
    out = torch.empty_like(x)
    below, above = least - chroma, value.add_(chroma)
    torch.addcmul(below, chroma, (hue - 3).abs_().clamp_(1, 2), out=out[:, 0])
    torch.addcmul(above, chroma, (hue - 2).abs_().clamp_(1, 2), value=-1, out=out[:, 1])
    torch.addcmul(above, chroma, (hue - 4).abs_().clamp_(1, 2), value=-1, out=out[:, 2])
    return out.clamp_(0, 1)


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
    blends = order[order != HUE].view(-1, 3)
    chosen = factors.gather(1, blends)
    after = [int((turn <= k).sum()) for k in range(3)]
    for k, first in enumerate(after):
        x[first:] = blend(x[first:], chosen[first:, k], blends[first:, k])
    x = adjust_hue(x, factors[:, HUE])
    for k, last in enumerate(after):
        x[:last] = blend(x[:last], chosen[:last, k], blends[:last, k])
    return x


def greyscale(x: Tensor) -> Tensor:
    """Return the pictures' grey, in every channel."""
    luma = _luma(x)
    return x.clone() if len(luma) == 1 else torch.einsum("nchw,c->nhw", x, luma)[:, None].expand_as(x)


def solarize(x: Tensor, threshold: Tensor) -> Tensor:
    """Invert the pixels at or above each picture's threshold, `(N,)`."""
    return torch.where(x >= per_sample(threshold), 1 - x, x)
