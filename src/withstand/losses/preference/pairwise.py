"""DPO and IPO: what a pair of answers says of one policy.

Both read log-ratios, log pi(y|x) - log pi_ref(y|x), of the chosen answer and of the rejected one. Size: B pairs.
"""

from torch import Tensor
from torch.nn.functional import logsigmoid

from withstand.core.errors import ConfigError


def dpo(chosen: Tensor, rejected: Tensor, beta: float) -> Tensor:
    """Return the loss of direct preference optimisation (Rafailov et al., 2023), `(B,)`.

    Args:
        chosen: log-ratios of the chosen answers, summed over their tokens, `(B,)`.
        rejected: of the rejected ones.
        beta: how dear it is to leave the reference.
    """
    check_beta(beta)
    return -logsigmoid(beta * (chosen - rejected))


def ipo(chosen: Tensor, rejected: Tensor, beta: float) -> Tensor:
    """Return the loss of identity preference optimisation (Azar et al., 2023), `(B,)`.

    Args:
        chosen: log-ratios of the chosen answers, `(B,)`. The authors confirmed that means over tokens are meant where
            answers differ in length; sums are the population loss of the paper.
        rejected: of the rejected ones.
        beta: tau, how dear it is to leave the reference; the margin aims at 1 / (2 beta).
    """
    check_beta(beta)
    loss: Tensor = (chosen - rejected - 1 / (2 * beta)) ** 2
    return loss


def check_beta(beta: float) -> None:
    """Refuse a beta that is not above 0.

    Raises:
        ConfigError: so it is.
    """
    if not beta > 0:
        raise ConfigError(f"beta must be above 0, not {beta!r}")
