"""Has an encoder collapsed: does it give nearly the same code whatever it is shown? Sizes: `N` samples, `D` width."""

import math

import torch
from torch import Tensor

from withstand.core.finding import Check
from withstand.losses.contrast.geometry import effective_rank, per_dimension_std

COLLAPSED, NARROW = 0.05, 0.1
"""Spreads below which features have collapsed, or may have: the mean cosine of two samples is above 0.9975, or 0.99.

ResNets with random weights, whose features share a large part, have 0.07 to 0.24 on pictures.
"""


def spread(x: Tensor) -> float:
    """Return how evenly unit-length features `(N, D)` spread: 1 over all of the sphere, 0 at a point."""
    return float(per_dimension_std(x).mean()) * math.sqrt(x.shape[1])


def collapse_check(x: Tensor) -> Check:
    """Check that features `(N, D)` of different samples differ; narrow ones, and a single one, cannot be judged."""
    name = "the features have not collapsed"
    if len(x) < 2:
        return Check(name, None, "one sample alone cannot tell")
    wide, rank = spread(x), float(effective_rank(x))
    known = bool(torch.isfinite(x).all())
    passed = None if COLLAPSED <= wide < NARROW and rank >= 2 else known and wide >= NARROW and rank >= 2
    detail = f"spread {wide:.3g} (1 is even, 0 a point), effective rank {rank:.3g} of {x.shape[1]}"
    if passed is None:
        detail += ": a narrow cone, as many an untrained network has"
    return Check(name, passed, detail)
