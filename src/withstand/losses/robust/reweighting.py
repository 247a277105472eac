"""Weights of samples under attack: worst-case ones, with DONE's smooth inner problem; GAIRAT's and MAIL's.

Doubly Robust Instance-Reweighted Adversarial Training (DONE; ICLR 2024). There is no official code: formulas were
derived from the problem, `max over weights w of sum_i w_i l_i - r KL(w || uniform)`, and checked numerically.
Geometry-aware Instance-reweighted Adversarial Training (GAIRAT; ICLR 2021). Probabilistic Margins for Instance
Reweighting in Adversarial Training (MAIL; NeurIPS 2021).

Sizes: B samples, C classes.
"""

import math
from typing import Literal, TypeAlias

import torch.nn.functional as F
from torch import Tensor

from withstand.core.devices.distributed import gather
from withstand.losses.precision import full_precision
from withstand.losses.temperature import Temperature, checked_temperature

Curve: TypeAlias = Literal["tanh", "sigmoid", "discrete"]


def survival_weights(survived: Tensor, steps: int, *, shift: float = -1.0, curve: Curve = "tanh") -> Tensor:
    """Return GAIRAT's weights, `(B,)`: the fewer steps of an attack a sample survives, the more. Their mean is 1.

    With z = shift + 5 (1 - 2 kappa / K) they are in proportion to (1 + tanh z) / 2 or sigmoid z, or, discrete, to
    (K + 1 - kappa) / (K + 1). The official code rounds K / 2 down, which differs at odd K.

    Args:
        survived: kappa, steps before which the sample was classified rightly, `(B,)`.
        steps: K.
        shift: lambda; the larger, the more equal.
        curve: which of the three.
    """
    kappa = survived.float()
    if curve == "discrete":
        log_weight = (steps + 1 - kappa).log()
    else:
        z = shift + 5 * (1 - 2 * kappa / steps)
        log_weight = F.logsigmoid(2 * z if curve == "tanh" else z)  # (1 + tanh z) / 2 is sigmoid 2z
    return (log_weight - log_mean_exponential(log_weight, 1.0)).exp()


@full_precision
def probability_margin(logits: Tensor, y: Tensor) -> Tensor:
    """Return how far the likeliest other class is ahead of the label, in probability: `(B,)` in [-1, 1]."""
    p = logits.softmax(1)
    own = p.gather(1, y[:, None])
    return (p.scatter(1, y[:, None], -1.0).amax(1, keepdim=True) - own).squeeze(1)


@full_precision
def margin_weights(margin: Tensor, *, bias: float, slope: float, scale: float | None = 3.0) -> Tensor:
    """Return MAIL's weights, `scale` times the sigmoid of `slope (margin + bias)`, `(B,)`; None for a mean of 1."""
    z = slope * (margin + bias)
    if scale is not None:
        return scale * z.sigmoid()
    log_weight = F.logsigmoid(z)
    return (log_weight - log_mean_exponential(log_weight, 1.0)).exp()


@full_precision
def worst_case_weights(losses: Tensor, temperature: Temperature) -> Tensor:
    """Return the weights `softmax(l / r)` that maximise the regularised sum, `(B,)`; large r gives uniform ones."""
    temperature = checked_temperature(temperature)
    return (losses / temperature).softmax(0)


@full_precision
def log_mean_exponential(losses: Tensor, temperature: Temperature) -> Tensor:
    """Return log mean exp(l / r) over all processes, 0-d; times r, the value at the worst-case weights."""
    temperature = checked_temperature(temperature)
    every = gather(losses)
    return (every / temperature).logsumexp(0) - math.log(len(every))


def barrier_minimizer(slope: Tensor, low: Tensor, high: Tensor, barrier: float) -> Tensor:
    """Return what minimises `slope d - barrier (log(high - d) + log(d - low))`, entry by entry, strictly inside.

    It nears the end that the slope points away from as the barrier fades (FGSM), and the middle as the slope does.
    """
    middle, half = (low + high) / 2, (high - low) / 2
    root = (barrier**2 + (slope * half).square()).sqrt()
    return middle - slope * half.square() / (barrier + root)


def barrier_curvature(delta: Tensor, low: Tensor, high: Tensor, barrier: float) -> Tensor:
    """Return the barrier's second derivative at `delta`, entry by entry."""
    return barrier * ((high - delta).pow(-2) + (delta - low).pow(-2))
