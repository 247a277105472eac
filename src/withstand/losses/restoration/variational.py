"""What variational autoencoders weigh against restoration.

Sizes: `B` samples, `K` latent numbers.
"""

import torch
from torch import Tensor

from withstand.losses.precision import full_precision


@full_precision
def kl_to_standard(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return the divergence of N(mean, exp(log_variance)) from N(0, 1) a latent number, in nats, mean over `(B, K)`.

    It is 0 where the mean is 0 and the variance 1 (Kingma and Welling, Auto-encoding variational Bayes, 2014).
    """
    return (mean.square() + log_variance.exp() - 1 - log_variance).mean() / 2


def slope_penalty(x: Tensor, outputs: Tensor, target: float) -> Tensor:
    """Return the mean squared distance of slopes' lengths from a target: two-sided, as in WGAN-GP (Gulrajani, 2017).

    A sample's slope is that of the sum of its outputs. A length of 0 has no direction, and pulls none.

    Args:
        x: inputs `(B, ...)` that require gradients.
        outputs: `(B, K)`, each sample's made of its own input alone.
        target: length that is asked for.
    """
    (slope,) = torch.autograd.grad(outputs.sum(), x, create_graph=True)
    length = slope.flatten(1).square().sum(1).clamp_min(torch.finfo(slope.dtype).tiny).sqrt()
    return (target - length).square().mean()
