"""Counterexamples to a property in a box, by signed gradient steps from many starts on the captured network.

Classifiers in norm balls are attacked by the attack engine; this is for boxes and properties that it does not know.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from withstand.core.random import Draws
from withstand.verification.bounds.receptive_field import rows_of
from withstand.verification.network.network import Network
from withstand.verification.specification.box import Region
from withstand.verification.specification.property import Property
from withstand.verification.specification.verdict import Late, never

Replay = Callable[[Tensor], Tensor]
"""Outputs `(B, C)` of the real model for inputs `(B, *shape)`."""

Breaks = Callable[[Tensor], Tensor]
"""Which points `(B, *shape)` break a property on the real model, as it is shown them, bool `(B,)`."""

DOUBTS = 64
"""Points that break the captured network and not the model, after which a search gives up: rounding decides."""

_SHOWN = 4


def doubtful(points: int) -> str:
    """Return the reason that a search gives up for after `DOUBTS`."""
    return f"at {points} points the captured network breaks the property and the real model does not: rounding decides"


def by_outputs(wanted: Property, replay: Replay) -> Breaks:
    """Return what asks the real model for its outputs, of one point after the other, and judges them exactly."""

    def breaks(points: Tensor) -> Tensor:
        found = [wanted.least(wanted.values(replay(point[None]))) <= 0 for point in points]
        return torch.cat(found) if found else torch.zeros(0, dtype=torch.bool)

    return breaks


def first_broken(points: Tensor, values: Tensor, breaks: Breaks) -> Tensor | None:
    """Return the first point that the real model breaks at, the lowest values first; None if the few lowest all hold.

    Args:
        points: `(B, *shape)`.
        values: of the property on the captured network, `(B,)`; only what is at most 0 is shown to the model.
        breaks: asks the model.
    """
    order = values.argsort()[:_SHOWN]
    shown = points[order[values[order] <= 0]]
    if not len(shown):
        return None
    broken = breaks(shown).nonzero().squeeze(1)
    return shown[broken[0]] if len(broken) else None


def falsify(
    network: Network,
    region: Region,
    wanted: Property,
    breaks: Breaks | None = None,
    *,
    starts: int = 64,
    steps: int = 40,
    seed: int = 0,
    late: Late = never,
) -> Tensor | None:
    """Return a point of one region (N = 1) at which the real model breaks the property; None if none was met.

    Args:
        network: the captured network, by whose slopes points are sought.
        region: where to look.
        wanted: the property.
        breaks: asks the real model about points at which the network breaks the property; None to ask the network.
        starts: points that are moved at once.
        steps: moves of each.
        seed: of the starts.
        late: once it says so, the search ends.
    """
    breaks = breaks or by_outputs(wanted, network)
    draws = Draws(seed, torch.arange(starts, device=region.low.device))
    x = region.sample(draws.uniform(*network.shape)[:, None].double())[:, 0]
    low, high = region.low.double(), region.high.double()
    for step in range(steps + 1):
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            values = wanted.per_group(wanted.values(network(x)))
            # Each start goes for one group, so that all are tried; the last half for whichever is closest.
            aim = torch.arange(starts, device=x.device) % wanted.groups
            chosen = values.gather(1, aim[:, None]).squeeze(1)
            chosen = torch.where(torch.arange(starts, device=x.device) < starts // 2, chosen, values.amin(1))
            broken = first_broken(x.detach(), values.amin(1).detach(), breaks)
            if broken is not None or step == steps or late():
                return broken
            (slope,) = torch.autograd.grad(chosen.sum(), x)
        moved = x.detach() - (high - low) * slope.sign() * (0.3 if step < steps // 2 else 0.05)
        x = _confine(torch.minimum(torch.maximum(moved, low), high), region)
    return None


def _confine(x: Tensor, region: Region) -> Tensor:
    if region.center is None or region.eps is None:
        return x
    delta = x - region.center
    size = torch.linalg.vector_norm(rows_of(delta), ord=2 if region.norm == "l2" else 1, dim=1).clamp_min(1e-300)
    factor: Tensor = (region.eps / size).clamp_max(1)
    return region.center + delta * factor.view(-1, *[1] * (x.dim() - 1))
