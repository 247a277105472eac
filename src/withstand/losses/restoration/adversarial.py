"""A game of two: what a generator and its critic each lower (Goodfellow et al., 2014), on logits that are true."""

from torch import Tensor
from torch.nn.functional import softplus

from withstand.losses.precision import full_precision


@full_precision
def fooling_loss(made: Tensor) -> Tensor:
    """Return the mean of -log D(G(x)), 0-d: log 2 where the critic cannot tell, with a slope of 1 where it is sure.

    Args:
        made: the critic's logits of what the generator made, `(B,)`.
    """
    return softplus(-made).mean()


@full_precision
def critic_loss(true: Tensor, made: Tensor) -> Tensor:
    """Return the mean of -log D(x) - log(1 - D(G(x))), 0-d: 2 log 2 where the critic cannot tell.

    Args:
        true: logits of true samples, `(B,)`.
        made: of what the generator made, `(B,)`.
    """
    return softplus(-true).mean() + softplus(made).mean()
