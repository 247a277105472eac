"""SRPO: the loss of a policy that answers and of one that improves an answer, and the game's solution in closed form.

paper: Self-Improving Robust Preference Optimization (Choi, Ahmadian, Geist, Pietquin, Azar; ICLR 2025)

The game: min over pi, max over pi_dag of E[P(y2 > y1 | x)] - beta KL(pi_dag || pi_ref) + beta KL(pi || pi_ref), with y1
drawn from pi(. | x) and y2 from pi_dag(. | y1, x). Sizes: B pairs, n answers.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from withstand.core.errors import ConfigError
from withstand.losses.preference.pairwise import check_beta


@dataclass(frozen=True, slots=True)
class LogRatios:
    """log pi - log pi_ref of one pair's answers, each summed over the answer's tokens, `(B,)`.

    w is the chosen answer, l the rejected one.

    Attributes:
        chosen: r(w | x).
        rejected: r(l | x).
        chosen_after_rejected: r(w | l, x), of the improvement of a draft l.
        rejected_after_rejected: r(l | l, x), of leaving it as it is.
        chosen_after_chosen: r(w | w, x).
        rejected_after_chosen: r(l | w, x).
    """

    chosen: Tensor
    rejected: Tensor
    chosen_after_rejected: Tensor
    rejected_after_rejected: Tensor
    chosen_after_chosen: Tensor
    rejected_after_chosen: Tensor


@dataclass(frozen=True, slots=True)
class SelfImproving:
    """The loss of each pair, `(B,)`, and its two terms.

    Attributes:
        loss: (1 - alpha) generative + alpha improving.
        generative: of the policy that answers, by the policy that improves.
        improving: of the policy that improves.
    """

    loss: Tensor
    generative: Tensor
    improving: Tensor


def srpo(ratios: LogRatios, beta: float, alpha: float, preferred: Tensor | float = 1.0) -> SelfImproving:
    """Return the loss of pairs; gradients flow through all six log-ratios, as the joint minimum needs.

    At the references' own log-probabilities the terms are 1 and 1/4 for hard labels.

    Args:
        ratios: of the pairs.
        beta: how dear it is to leave the reference.
        alpha: the weight of the improving term, in (0, 1]; 1 trains the improving policy alone. Any below 1 has the
            same minimum where policies are free.
        preferred: P(w > l), `(B,)` or one number; 1 for plain labels. The squared loss of hard labels has its minimum
            at their mean, so noisy ones need nothing else.

    Raises:
        ConfigError: a beta or an alpha out of range.
    """
    check_beta(beta)
    if not 0 < alpha <= 1:
        raise ConfigError(f"alpha must lie in (0, 1], not {alpha!r}")
    over_rejected = beta * (ratios.chosen_after_rejected - ratios.rejected_after_rejected)
    over_chosen = beta * (ratios.chosen_after_chosen - ratios.rejected_after_chosen)
    lead = preferred - 0.5
    improving = ((over_rejected - lead) ** 2 + (over_chosen - lead) ** 2) / 2
    crossed = (ratios.chosen_after_rejected - ratios.rejected) - (ratios.rejected_after_chosen - ratios.chosen)
    generative = (beta * crossed - 2 * lead) ** 2
    return SelfImproving((1 - alpha) * generative + alpha * improving, generative, improving)


def solve_preference_game(
    preference: Tensor, reference: Tensor, conditional: Tensor, beta: float
) -> tuple[Tensor, Tensor]:
    """Return both policies at the game's saddle point: what SRPO's loss is least at, whatever pairs it is fed.

    pi_dag(y2 | y1) is pi_ref(y2 | y1) exp(P(y2 > y1) / beta) / Z(y1), and pi(y) is proportional to pi_ref(y) / Z(y).

    Args:
        preference: P(row > column), `(n, n)`, with P(a > b) + P(b > a) = 1.
        reference: pi_ref(y), `(n,)`.
        conditional: pi_ref(y2 | y1), a row for each y1, `(n, n)`.
        beta: how dear it is to leave the references.

    Returns:
        pi `(n,)`, and pi_dag `(n, n)`, a row for each y1.

    Raises:
        ConfigError: a preference that is not skew about 1/2, or references that are no distributions.
    """
    check_beta(beta)
    if not torch.allclose(preference + preference.T, torch.ones_like(preference)):
        raise ConfigError("P(a > b) + P(b > a) must be 1 for all answers a and b")
    for name, some in (("reference", reference), ("conditional", conditional)):
        if bool((some <= 0).any()) or not torch.allclose(some.sum(-1), torch.ones_like(some.sum(-1))):
            raise ConfigError(f"{name} must hold distributions: numbers above 0 that add up to 1")
    # In logarithms: exp(1 / beta) overflows for a small beta.
    tilted = conditional.log() + preference.T / beta
    log_z = tilted.logsumexp(1)
    return (reference.log() - log_z).softmax(0), (tilted - log_z[:, None]).exp()
