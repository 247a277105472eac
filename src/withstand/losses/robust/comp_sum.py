"""Comp-sum losses: one family from sum-exponential over cross-entropy to mean absolute error, with its bounds.

Cross-Entropy Loss Functions: Theoretical Analysis and Applications (Mao, Mohri, Zhong; ICML 2023).

With the scores h of B samples and n classes, u = sum over k != y of exp(h_k - h_y) and p = 1 / (1 + u) the softmax
probability of the label, the loss is Phi_tau(u) = (1 - p^(tau - 1)) / (tau - 1), and -log p at tau = 1.

| tau | loss |
|---|---|
| 0 | sum-exponential, u |
| 1 | cross-entropy |
| 1 to 2 | generalised cross-entropy with q = tau - 1 |
| 2 | 1 - p, half of the mean absolute error's sum |

A larger tau gives hard and mislabelled samples less weight: the gradient is cross-entropy's times p^(tau - 1). Only at
tau = 1 is the softmax of the best scores the class probabilities; elsewhere it is proportional to their power
1 / (2 - tau). Below tau = 1 that weight is unbounded: clip gradients.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from withstand.core.errors import ConfigError, DataError
from withstand.losses.precision import full_precision

_NEAR = 1e-6
"""From here on, tau counts as 1: the difference is of the order of tau - 1."""


@full_precision
def comp_sum(scores: Tensor, y: Tensor, tau: float = 1.0) -> Tensor:
    """Return each sample's comp-sum loss, `(B,)`.

    Args:
        scores: `(B, n)`.
        y: labels `(B,)`.
        tau: at least 0.
    """
    return phi(-F.cross_entropy(scores, y, reduction="none"), tau)


def phi(log_p: Tensor, tau: float) -> Tensor:
    """Return `(1 - p^(tau - 1)) / (tau - 1)` from log p; at tau = 1, -log p. Exact to round-off for tau near 1."""
    _check_tau(tau)
    return -log_p if abs(tau - 1) < _NEAR else -torch.expm1((tau - 1) * log_p) / (tau - 1)


def differences(scores: Tensor, y: Tensor) -> Tensor:
    """Return `h_y - h_k` for the classes k other than y, in their order, `(B, n - 1)`."""
    own = scores.gather(1, y[:, None])
    others = torch.ones_like(scores, dtype=torch.bool).scatter(1, y[:, None], False)
    return (own - scores)[others].view(len(scores), scores.shape[1] - 1)


@full_precision
def difference_shift(clean: Tensor, attacked: Tensor, y: Tensor) -> Tensor:
    """Return `|| Delta(x') - Delta(x) ||_2` over the n - 1 score differences of each sample, `(B,)`.

    The root is smoothed by 1e-12, so that it has a gradient, of zero, where nothing has moved.
    """
    return (differences(attacked - clean, y).square().sum(1) + 1e-12).sqrt()


@full_precision
def smooth_adversarial(
    clean: Tensor, attacked: Tensor, y: Tensor, *, tau: float = 1.0, rho: float = 1.0, nu: float = 0.3
) -> Tensor:
    """Return `Phi_tau(sum_k exp(-Delta_k(x) / rho)) + nu || Delta(x') - Delta(x) ||_2`, `(B,)`.

    With the worst x' of a ball and nu at least sqrt(n - 1) / rho it bounds `adversarial_margin` from above, and
    so, up to Phi_tau(1), the adversarial zero-one loss; in practice a smaller nu trains better.

    Args:
        clean: scores `(B, n)`.
        attacked: scores `(B, n)` at x'.
        y: labels `(B,)`.
        tau: of the comp-sum loss.
        rho: margin; below 1 it buys clean accuracy.
        nu: weight of the movement under attack.
    """
    if not rho > 0:
        raise ConfigError(f"rho must be above 0, not {rho!r}")
    return comp_sum(clean / rho, y, tau) + nu * difference_shift(clean, attacked, y)


@full_precision
def adversarial_margin(attacked: Tensor, y: Tensor, *, tau: float = 1.0, rho: float = 1.0) -> Tensor:
    """Return the rho-margin loss at given points, `(B,)`: `Phi_tau(sum_k min(max(0, 1 - Delta_k / rho), 1))`."""
    u = (1 - differences(attacked, y) / rho).clamp(0, 1).sum(1)
    return phi(-torch.log1p(u), tau)


def transform(beta: float, tau: float, classes: int) -> float:
    """Return T_tau(beta): the least excess of the comp-sum loss that an excess `beta` of zero-one loss costs.

    Args:
        beta: in [0, 1].
        tau: at least 0.
        classes: n; it matters above tau = 1.
    """
    _check_tau(tau)
    if not 0 <= beta <= 1 or classes < 2:
        raise ConfigError(f"beta must lie in [0, 1] and classes be at least 2, not {beta!r} and {classes!r}")
    if abs(tau - 1) < _NEAR:
        return (_x_log_x(1 + beta) + _x_log_x(1 - beta)) / 2
    if tau >= 2:
        return beta / ((tau - 1) * math.pow(classes, tau - 1))
    # A^(2 - tau) with 1 + beta taken out: near tau = 2 the exponent 1 / (2 - tau) is large.
    power = 1 / (2 - tau)
    low = (1 - beta) / (1 + beta)
    mean = (1 + beta) * math.pow((1 + math.pow(low, power)) / 2, 2 - tau)
    if tau < 1:
        return math.pow(2, 1 - tau) / (1 - tau) * (1 - mean)
    return (mean - 1) / ((tau - 1) * math.pow(classes, tau - 1))


def consistency_bound(excess: float, tau: float, classes: int) -> float:
    """Return Gamma_tau, the inverse of `transform`: a bound on the excess zero-one loss, at most 1.

    It bounds `R01(h) - R01*` (plus its minimizability gap) by the surrogate's excess plus its own gap, for symmetric
    and complete sets of hypotheses. It says nothing of optimisation.

    Args:
        excess: estimation error of the comp-sum loss plus its minimizability gap, at least 0.
        tau: at least 0.
        classes: n.
    """
    if not excess >= 0:
        raise ConfigError(f"an excess is at least 0, not {excess!r}")
    if excess >= transform(1.0, tau, classes):
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if transform(middle, tau, classes) <= excess else (low, middle)
    return high


def simple_bound(excess: float, tau: float, classes: int) -> float:
    """Return the paper's closed form above Gamma_tau: a square root below tau = 2, linear from there on."""
    _check_tau(tau)
    if tau >= 2:
        return (tau - 1) * math.pow(classes, tau - 1) * excess
    if tau < 1:
        return math.sqrt(math.pow(2, tau) * (2 - tau) * excess)
    return math.sqrt(2 * math.pow(classes, tau - 1) * excess)


@full_precision
def least_conditional_risk(probabilities: Tensor, tau: float) -> Tensor:
    """Return the comp-sum loss of the best scores where classes have these probabilities, `(..., n)` to `(...)`.

    `(1 - S^(2 - tau)) / (tau - 1)` with S the sum of p^(1 / (2 - tau)); entropy at tau = 1; from tau = 2 on
    `(1 - max p) / (tau - 1)`.
    """
    _check_tau(tau)
    if abs(tau - 1) < _NEAR:
        entropy: Tensor = torch.special.entr(probabilities).sum(-1)
        return entropy
    if tau >= 2:
        return (1 - probabilities.amax(-1)) / (tau - 1)
    norm: Tensor = torch.linalg.vector_norm(probabilities, ord=1 / (2 - tau), dim=-1)
    return (1 - norm) / (tau - 1)


@full_precision
def minimizability_gap(probabilities: Tensor, weights: Tensor, best_risk: float, tau: float) -> Tensor:
    """Return a finite problem's gap: what the best hypothesis loses on what each point alone would allow, 0-d.

    Args:
        probabilities: of classes at each of S points, `(S, n)`.
        weights: of the points, summing to 1, `(S,)`.
        best_risk: the least expected comp-sum loss that the hypotheses reach.
        tau: at least 0.
    """
    return best_risk - (weights * least_conditional_risk(probabilities, tau)).sum()


def generalized_cross_entropy(scores: Tensor, y: Tensor, q: float = 0.7) -> Tensor:
    """Return `(1 - p^q) / q` of each sample, `(B,)`: comp-sum at tau = 1 + q (Zhang and Sabuncu, 2018)."""
    if not 0 < q <= 1:
        raise ConfigError(f"q must lie in (0, 1], not {q!r}")
    return comp_sum(scores, y, 1 + q)


class CompSumLoss(torch.nn.Module):
    """In place of `nn.CrossEntropyLoss`: the comp-sum loss of a batch.

    Args:
        tau: at least 0; 1 is cross-entropy, 1.5 withstands mislabelled samples.
        reduction: "mean", "sum" or "none".
    """

    def __init__(self, tau: float = 1.0, reduction: str = "mean") -> None:
        super().__init__()
        _check_tau(tau)
        if reduction not in ("mean", "sum", "none"):
            raise ConfigError(f"reduction {reduction!r} is unknown: 'mean', 'sum' or 'none'")
        self.tau, self.reduction = tau, reduction

    def forward(self, scores: Tensor, y: Tensor) -> Tensor:
        """Return the loss of scores `(B, n)`; `y` holds labels `(B,)`, or at tau = 1 probabilities `(B, n)`."""
        if y.is_floating_point():
            if abs(self.tau - 1) >= _NEAR:
                raise DataError(f"probabilities as labels are for tau=1 only, not tau={self.tau:g}")
            values = F.cross_entropy(scores, y, reduction="none")
        else:
            values = comp_sum(scores, y, self.tau)
        if self.reduction == "none":
            return values
        return values.mean() if self.reduction == "mean" else values.sum()


def _check_tau(tau: float) -> None:
    if not (tau >= 0 and math.isfinite(tau)):
        raise ConfigError(f"tau must be at least 0, not {tau!r}")


def _x_log_x(value: float) -> float:
    return value * math.log(value) if value > 0 else 0.0
