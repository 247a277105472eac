"""Has an encoder collapsed: does it give nearly the same code whatever it is shown? Sizes: `N` samples, `D` width."""

import math

import torch
from torch import Tensor

from withstand.core.findings.finding import Check
from withstand.losses.contrast.geometry import effective_rank, per_dimension_std

COLLAPSED, NARROW = 0.05, 0.1
"""Spreads below which features have collapsed, or may have: the mean cosine of two samples is above 0.9975, or 0.99.

ResNets with random weights, whose features share a large part, have 0.07 to 0.24 on pictures.
"""
ROUNDED = 2.0**-8
"""The spread below which two samples differ by no more than bfloat16's rounding: nothing of them is left."""


def spread(x: Tensor) -> float:
    """Return how evenly unit-length features `(N, D)` spread: 1 over all of the sphere, 0 at a point."""
    return float(per_dimension_std(x).mean()) * math.sqrt(x.shape[1])


def collapse_check(x: Tensor, control: Tensor | None = None) -> Check:
    """Check that features `(N, D)` of different samples differ; narrow ones, and a single one, cannot be judged.

    Features may share almost all of their length, and still differ in many directions, which linear probes read: those
    of masked autoencoders do. Where it is known how many directions there were before training, features whose
    directions stayed have not collapsed for being narrow.

    Args:
        x: features.
        control: of the same samples, by the same network before it was trained.
    """
    name = "the features have not collapsed"
    if len(x) < 2:
        return Check(name, None, "one sample alone cannot tell")
    wide, rank = spread(x), float(effective_rank(x))
    known = bool(torch.isfinite(x).all())
    detail = f"spread {wide:.3g} (1 is even, 0 a point), effective rank {rank:.3g} of {x.shape[1]}"
    if not known or rank < 2:
        return Check(name, False, detail)
    if wide >= NARROW:
        return Check(name, True, detail)
    if wide >= COLLAPSED:
        return Check(name, None, f"{detail}: a narrow cone, as many an untrained network has")
    before = math.inf if control is None else float(effective_rank(control))
    if wide >= ROUNDED and 2 * rank >= before:
        return Check(
            name,
            None,
            f"{detail}, {before:.3g} untrained: a very narrow cone that has kept its directions; cosines hardly tell "
            "its samples apart, and a linear probe may",
        )
    return Check(name, False, detail)
