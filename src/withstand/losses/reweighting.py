"""Worst-case weights near uniform, and the smooth inner problem with a log-barrier.

Doubly Robust Instance-Reweighted Adversarial Training (DONE; ICLR 2024). There is no official code: formulas were
derived from the problem, `max over weights w of sum_i w_i l_i - r KL(w || uniform)`, and checked numerically.
"""

import math

from torch import Tensor

from withstand.core.distributed import gather
from withstand.core.errors import ConfigError
from withstand.losses.precision import full_precision


@full_precision
def worst_case_weights(losses: Tensor, temperature: float) -> Tensor:
    """Return the weights `softmax(l / r)` that maximise the regularised sum, `(B,)`; large r gives uniform ones."""
    _check(temperature)
    return (losses / temperature).softmax(0)


@full_precision
def log_mean_exponential(losses: Tensor, temperature: float) -> Tensor:
    """Return log mean exp(l / r) over all processes, 0-d; times r, the value at the worst-case weights."""
    _check(temperature)
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


def _check(temperature: float) -> None:
    if not temperature > 0:
        raise ConfigError(f"temperature must be above 0, not {temperature!r}")
