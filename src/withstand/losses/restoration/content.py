"""How far a restored picture is from the true one, by features. Sizes: `B` pictures, `C` channels, `H` x `W` places."""

from torch import Tensor

from withstand.losses.precision import full_precision


@full_precision
def feature_error(made: Tensor, true: Tensor, scale: float = 1.0) -> Tensor:
    """Return the squared distance of features, mean over pictures and places, 0-d (SRGAN, Ledig et al., 2017, eq. 5).

    Over channels it is the sum: 1/(W H) of the squared norm of the difference.

    Args:
        made: features of restored pictures, `(B, C, H, W)`.
        true: features of the true ones.
        scale: that features are multiplied by first; the paper's is 1/12.75 for VGG19's.
    """
    return (made - true).square().sum(1).mean() * scale**2


@full_precision
def total_variation(x: Tensor) -> Tensor:
    """Return the mean over pictures and places of the length of a picture's slope, 0-d (SRGAN's regulariser).

    The slope is that of forward differences, 0 beyond the last row and column; a length of 0 pulls nowhere.

    Args:
        x: pictures `(B, C, H, W)`.
    """
    down = (x[..., 1:, :] - x[..., :-1, :])[..., :, :-1]
    right = (x[..., :, 1:] - x[..., :, :-1])[..., :-1, :]
    return (down.square() + right.square()).clamp_min(1e-12).sqrt().mean()
