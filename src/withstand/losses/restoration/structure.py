"""Structural similarity as a loss, over one scale or several (Wang et al., 2004; Wang, Simoncelli and Bovik, 2003).

Sizes: `B` pictures, `C` channels, `H` x `W` pixels.
"""

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d

from withstand.losses.precision import full_precision

_TAPS, _SIGMA = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2
_SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""What each scale weighs, the finest first; those that the pictures are too small for are left out."""


@full_precision
def multi_scale_similarity(made: Tensor, true: Tensor, scales: int = len(_SCALES)) -> Tensor:
    """Return the mean over pictures of their multi-scale structural similarity, 0-d; 1 where pictures are equal.

    Contrast and structure of every scale and the luminance of the last, each to its weight, by a Gaussian window of
    11 x 11 over the places where it fits. Scales at which it fits nowhere are left out, and the weights of the others
    sum to 1; of smaller pictures the window is the largest odd one that fits. Similarities below 0 count as 0.

    Args:
        made: pictures `(B, C, H, W)` in [0, 1].
        true: those they are compared with.
        scales: most scales; 1 for plain structural similarity.
    """
    side = min(true.shape[2:])
    count = max(1, sum(side // 2**scale >= _TAPS for scale in range(min(scales, len(_SCALES)))))
    weights = torch.tensor(_SCALES[:count], dtype=made.dtype, device=made.device)
    weights = weights / weights.sum()
    found = made.new_ones(())
    for scale, weight in enumerate(weights):
        contrast, luminance = _similarity(made, true)
        if scale == count - 1:
            contrast = contrast * luminance
        else:
            made, true = avg_pool2d(made, 2), avg_pool2d(true, 2)
        # A power below 1 has no bound on its slope at 0.
        found = found * contrast.mean((2, 3)).clamp_min(1e-6) ** weight
    return found.mean()


def _similarity(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Return contrast with structure, and luminance, of every place and channel."""
    taps = min(_TAPS, (min(other.shape[2:]) - 1) // 2 * 2 + 1)
    steps = torch.arange(taps, dtype=one.dtype, device=one.device) - taps // 2
    window = torch.exp(-steps.square() / (2 * _SIGMA**2))
    window = window / window.sum()
    planes = torch.stack([one, other, one * one, other * other, one * other], 1)
    flat = planes.flatten(0, 2)[:, None]
    means = conv2d(conv2d(flat, window.view(1, 1, -1, 1)), window.view(1, 1, 1, -1))
    mean, wanted, square, squared, product = means.view(*planes.shape[:3], *means.shape[2:]).unbind(1)
    contrast = (2 * (product - mean * wanted) + _C2) / (square - mean**2 + squared - wanted**2 + _C2)
    return contrast, (2 * mean * wanted + _C1) / (mean**2 + wanted**2 + _C1)
