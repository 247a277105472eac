"""Soft assignments to prototypes, and their prediction across views.

Unsupervised Learning of Visual Features by Contrasting Cluster Assignments (SwAV, 2020); Emerging Properties in
Self-Supervised Vision Transformers (DINO, 2021). Sinkhorn: Sinkhorn Distances (Cuturi, 2013).

Sizes: B samples on this process, N over all processes, D projection width, K prototypes.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from withstand.core.devices.distributed import first_row, gather
from withstand.core.errors import ConfigError, DataError
from withstand.losses.precision import full_precision
from withstand.losses.temperature import Temperature, checked_temperature


@full_precision
def prototype_scores(z: Tensor, prototypes: Tensor) -> Tensor:
    """Return the inner products of rows `(B, D)` and prototypes `(K, D)`, `(B, K)`, at full precision."""
    return z @ prototypes.T


@full_precision
@torch.no_grad()
def sinkhorn(scores: Tensor, epsilon: float = 0.05, iterations: int = 3, power: float = 0.0) -> Tensor:
    """Return soft assignments that give every prototype its share of the global batch, `(B, K)`; rows sum to 1.

    In turns, prototypes' totals are brought to their shares and samples' to 1/N, of a matrix that begins as
    `exp(scores / epsilon)`; the samples come last. In logarithms, so that no epsilon overflows. Shares are equal, 1/K,
    or fall as a power of the prototype's number, for data whose kinds are unequally frequent (SEER's code, 2022).

    Args:
        scores: this process's, `(B, K)`.
        epsilon: smoothness, above 0.
        iterations: turns; at least 1.
        power: a, at least 0; the share of prototype i, from 0 on, is proportional to (i + 1)^-a.
    """
    if not epsilon > 0 or iterations < 1:
        raise ConfigError(f"epsilon must be above 0 and iterations at least 1, not {epsilon!r} and {iterations!r}")
    if not power >= 0:
        raise ConfigError(f"power must be at least 0, not {power!r}")
    log = gather(scores) / epsilon
    samples, prototypes = log.shape
    falling = -power * torch.arange(1, prototypes + 1, dtype=log.dtype, device=log.device).log()
    shares = falling - falling.logsumexp(0) if power else -math.log(prototypes)
    for _ in range(iterations):
        log = log - log.logsumexp(0, keepdim=True) + shares
        log = log - log.logsumexp(1, keepdim=True) - math.log(samples)
    first = first_row(len(scores))
    return log[first : first + len(scores)].exp() * samples


def swapped_cross_entropy(
    scores: Sequence[Tensor], targets: Sequence[Tensor], temperature: Temperature = 0.1
) -> Tensor:
    """Return the cross-entropy of each target with the scores of every other view, mean over pairs and samples.

    Args:
        scores: of V views, each `(B, K)`.
        targets: assignments of the first T views, each `(B, K)`, T at most V; they get no gradient.
        temperature: of the scores' softmax, above 0.
    """
    temperature = checked_temperature(temperature)
    if len(scores) < 2 or not 1 <= len(targets) <= len(scores):
        raise DataError(
            f"{len(scores)} views cannot be told from the targets of {len(targets)}: give two or more views"
        )
    logs = [(view.float() if view.dtype.itemsize < 4 else view).div(temperature).log_softmax(1) for view in scores]
    # Targets of one view are summed first: a view of a small part meets all of them in one product.
    fixed = [target.detach().to(logs[0].dtype) for target in targets]
    every = torch.stack(fixed).sum(0)
    per_view = []
    for place, log in enumerate(logs):
        others = fixed[:place] + fixed[place + 1 :]
        if others:
            wanted = every if place >= len(fixed) else torch.stack(others).sum(0)
            per_view.append(-(wanted * log).sum(1).mean())
    return torch.stack(per_view).sum() / (len(targets) * (len(scores) - 1))
