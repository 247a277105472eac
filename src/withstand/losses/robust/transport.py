"""Losses under an adversary who pays for moving a sample: closed forms for linear classifiers.

Distributionally robust learning over a ball of transport, in its Lagrangian form: phi(x, y) is the largest value, over
all z, of loss(z, y) - gamma c(z, x), where c is the distance of z from x or its square (Blanchet and Murthy,
Quantifying Distributional Model Risk via Optimal Transport, 2019; Sinha, Namkoong, Duchi, Certifying Some
Distributional Robustness with Principled Adversarial Training, 2018). A small gamma is a strong adversary; as gamma
grows, phi falls to the loss.

Sizes: `B` samples, `K` classes, `D` features. A sample's margin over a rival class is its label's score less the
rival's; the norm is that of the two classes' difference of weights, so that margin / norm is its distance from the
boundary between them. Each loss is the largest over rivals of one of a single margin, so phi is too.
"""

from typing import Literal, TypeAlias, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from withstand.core.errors import ConfigError, nearest
from withstand.losses.precision import full_precision
from withstand.losses.robust.comp_sum import differences

MarginLoss: TypeAlias = Literal["zero-one", "ramp", "hinge"]
"""1 where the margin is at most 0; min(1, max(0, 1 - margin)); max(0, 1 - margin)."""
Cost: TypeAlias = Literal["l2", "squared-l2"]
"""What moving a sample costs, a unit: its distance, or the square of it."""


@full_precision
def rivals(features: Tensor, weight: Tensor, bias: Tensor | None, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return margins over the rivals of each sample's label, and the norms, both `(B, K - 1)`.

    Args:
        features: `(B, D)`.
        weight: of the linear classifier, `(K, D)`.
        bias: `(K,)`, or None.
        y: labels `(B,)`.
    """
    return differences(F.linear(features, weight, bias), y), pair_norms(weight)[y]


def pair_norms(weight: Tensor) -> Tensor:
    """Return the norm of each class's weights less each other class's, in their order, `(K, K - 1)`."""
    count = len(weight)
    others = ~torch.eye(count, dtype=torch.bool, device=weight.device)
    apart = (weight[:, None] - weight)[others].view(count, count - 1, -1)
    norms: Tensor = torch.linalg.vector_norm(apart, dim=2)
    return norms


@full_precision
def margin_loss(margins: Tensor, loss: MarginLoss = "zero-one") -> Tensor:
    """Return each sample's loss without an adversary, `(B,)`; margins as from `rivals`."""
    _check(loss, "l2", 1.0)
    if loss == "zero-one":
        return (margins <= 0).to(margins.dtype).amax(1)
    risen = (1 - margins).clamp_min(0).amax(1)
    return risen.clamp_max(1) if loss == "ramp" else risen


@full_precision
def transported(
    margins: Tensor, norms: Tensor, gamma: float, loss: MarginLoss = "zero-one", cost: Cost = "l2"
) -> Tensor:
    """Return each sample's loss at its worst, less what moving it there costs, `(B,)`; exact for linear classifiers.

    With d = margin / norm and N = norm, for each rival: zero-one is max(0, 1 - gamma c(d)); hinge is max(0, 1 - margin)
    where N <= gamma and infinite elsewhere, and max(0, 1 - margin + N^2 / (4 gamma)) under the squared distance; ramp
    is max(0, 1 - margin, 1 - gamma d), and under the squared distance max(0, 1 - margin + N t - gamma t^2) at
    t = min(d, N / (2 gamma)). Zero-one and ramp are 1 where the margin is at most 0.

    Args:
        margins: `(B, K - 1)`.
        norms: `(B, K - 1)`.
        gamma: the price, at least 0.
        loss: which.
        cost: of moving.
    """
    _check(loss, cost, gamma)
    distance = margins / norms.clamp_min(torch.finfo(norms.dtype).tiny)
    fee = gamma * (distance if cost == "l2" else distance.square())
    if loss == "hinge" and cost == "l2":
        risen = (1 - margins).clamp_min(0).masked_fill(norms > gamma, torch.inf)
    elif loss == "hinge":
        risen = (1 - margins + norms.square() / (4 * gamma if gamma else torch.finfo(norms.dtype).tiny)).clamp_min(0)
    elif loss == "zero-one":
        risen = (1 - fee).clamp_min(0)
    elif cost == "l2":
        risen = torch.maximum(1 - margins, 1 - fee).clamp_min(0)
    else:
        moved = torch.minimum(distance, norms / (2 * gamma)) if gamma else distance
        risen = (1 - margins + norms * moved - gamma * moved.square()).clamp_min(0)
    if loss != "hinge":
        risen = torch.where(margins <= 0, torch.ones_like(risen), risen)
    return risen.amax(1)


@full_precision
def transported_cross_entropy(
    features: Tensor, weight: Tensor, bias: Tensor | None, y: Tensor, gamma: float, steps: int = 15
) -> Tensor:
    """Return each sample's cross-entropy at its worst, less gamma times its squared distance, `(B,)`.

    There is no closed form. Gradient steps of 1 / (2 gamma) from the sample itself find the worst point, which is the
    only one where gamma exceeds `least_price`; gradients then are those at that point.

    Args:
        features: `(B, D)`.
        weight: `(K, D)`.
        bias: `(K,)`, or None.
        y: labels `(B,)`.
        gamma: above `least_price(weight)`.
        steps: of the search.
    """
    told = F.one_hot(y, len(weight)).to(features.dtype)
    with torch.no_grad():
        worst = features
        for _ in range(steps):
            pull = (F.linear(worst, weight, bias).softmax(1) - told) @ weight
            worst = features + pull / (2 * gamma)
    risen = F.cross_entropy(F.linear(worst, weight, bias), y, reduction="none")
    return risen - gamma * (worst - features).square().sum(1)


def least_price(weight: Tensor) -> float:
    """Return the gamma from which on cross-entropy less gamma times a squared distance is concave.

    Its curvature is a variance of scores along a direction, at most a quarter of the widest difference's square.
    """
    return float(pair_norms(weight.detach()).square().max()) / 8


def _check(loss: MarginLoss, cost: Cost, gamma: float) -> None:
    if loss not in get_args(MarginLoss):
        raise ConfigError(f"loss {loss!r} is unknown: {nearest(str(loss), get_args(MarginLoss))}")
    if cost not in get_args(Cost):
        raise ConfigError(f"cost {cost!r} is unknown: {nearest(str(cost), get_args(Cost))}")
    if not gamma >= 0:
        raise ConfigError(f"gamma must be at least 0, not {gamma!r}")
