"""What makes clips hold together: forward and backward passes that agree, and a critic's features.

TecoGAN (Chu et al., 2020). Sizes: `B` clips of `T` frames, `C` channels, `H` x `W` pixels.
"""

import torch
from torch import Tensor

from withstand.core.errors import DataError
from withstand.losses.precision import full_precision


def ping_pong(clips: Tensor) -> Tensor:
    """Return clips `(B, N, ...)` run forward and then backward, `(B, 2N - 1, ...)`: the last frame comes once."""
    return torch.cat([clips, clips[:, :-1].flip(1)], 1)


@full_precision
def ping_pong_loss(frames: Tensor) -> Tensor:
    """Return the mean distance of frames on the way out and on the way back, 0-d: what drifts differs.

    Args:
        frames: made of clips that `ping_pong` made, `(B, 2N - 1, C, H, W)`, N at least 2.

    Raises:
        DataError: an even number of frames, or one.
    """
    length = frames.shape[1]
    if length < 3 or length % 2 == 0:
        raise DataError(f"a clip that runs forward and back has 3, 5, 7 or more frames, not {length}")
    half = length // 2
    return (frames[:, :half] - frames[:, half + 1 :].flip(1)).abs().mean()


@full_precision
def matching_loss(made: Tensor, true: Tensor, size: float) -> Tensor:
    """Return how far a critic's maps of made and true samples are apart, 0-d: summed over channels, over a size.

    Args:
        made: maps of made samples, `(B, C, H, W)`.
        true: of true ones.
        size: what the sum is divided by, so that layers weigh alike.
    """
    return (made - true).abs().sum(1).mean() / size


@full_precision
def cosine_error(made: Tensor, true: Tensor) -> Tensor:
    """Return 1 less the mean cosine of features at each place, 0-d (TecoGAN's perceptual loss of one layer).

    Args:
        made: features of made pictures, `(B, C, H, W)`.
        true: of true ones.
    """
    lengths = [(x.square().sum(1) + 1e-12).sqrt() for x in (made, true)]
    return 1 - ((made * true).sum(1) / (lengths[0] * lengths[1])).mean()
