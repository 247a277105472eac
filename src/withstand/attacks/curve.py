"""Robust accuracy over a list of radii, each attack warm-started from where the one before it ended.

A sample broken within a ball is broken within every larger one, so it is not attacked again, and the
curve never rises.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from withstand.attacks.attack import InputAttack
from withstand.attacks.inputs.nearest import MinimalNorm
from withstand.core.errors import ConfigError
from withstand.core.random import Draws, as_draws
from withstand.core.victims.victim import Victim


@dataclass(frozen=True, slots=True)
class Curve:
    """What a sequence of attacks broke at which radius.

    Attributes:
        eps: the radii, ascending.
        radius: the smallest radius at which each sample fell, `(N,)`; 0 where it was wrong before any
            change, infinite where it never fell.
        winner: which attack, by place in the sequence, broke it; -1 where none was needed or none did.
        x: the input that broke it, or the last that was tried.
        tried: by radius, on how many samples each attack was run.
    """

    eps: tuple[float, ...]
    radius: Tensor
    winner: Tensor
    x: Tensor
    tried: tuple[tuple[int, ...], ...] = ()

    def holds(self, eps: float) -> Tensor:
        """Return which samples withstand every ball up to radius `eps`, bool `(N,)`."""
        return self.radius > eps

    def cpu(self) -> "Curve":
        """Return the same on the CPU."""
        return Curve(self.eps, self.radius.cpu(), self.winner.cpu(), self.x.cpu(), self.tried)

    @property
    def accuracy(self) -> tuple[float, ...]:
        """The robust accuracy at each radius: the share of all samples that hold."""
        return tuple(self.holds(eps).double().mean().item() for eps in self.eps)


def distance_curve(
    attacks: MinimalNorm | Sequence[MinimalNorm],
    victim: Victim,
    x: Tensor,
    y: Tensor | None = None,
    *,
    eps: Sequence[float],
    generator: Draws | torch.Generator | int | None = None,
    batch: int = 64,
) -> Curve:
    """Return how far each sample withstands, from one run of each attack: `radius` is the least distance found.

    Args:
        attacks: one or more in one norm; each is run on all samples that are right, and their own radii do not matter.
        victim: the model under attack.
        x: clean inputs, `(N, ...)`.
        y: labels; None for the victim's own predictions.
        eps: radii at which the curve is read, in input units, ascending.
        generator: draws, a torch generator or a seed.
        batch: samples attacked at once.

    Raises:
        ConfigError: no attacks, attacks in several norms, or radii that do not ascend from above 0.
    """
    attacks = [attacks] if isinstance(attacks, MinimalNorm) else list(attacks)
    if not attacks or not eps or list(eps) != sorted(set(eps)) or eps[0] <= 0:
        raise ConfigError(f"a curve needs attacks, and positive radii in ascending order, not {list(eps)}")
    if len(norms := {attack.ball.norm for attack in attacks}) > 1:
        raise ConfigError(f"distances in several norms make no curve: {', '.join(sorted(norms))}")
    draws = as_draws(generator, len(x), x.device)
    clean = attacks[0].at(0)(victim, x, y, generator=draws, batch=batch)
    nearest = clean.x.clone()
    radius = torch.where(clean.success, 0.0, torch.inf).double()
    winner = torch.full_like(clean.queries, -1)
    right = (~clean.success).nonzero().squeeze(1)
    for number, attack in enumerate(attacks):
        labels = None if y is None else y[right]
        found = attack.nearest(victim, x[right], labels, generator=draws.child(number)[right], batch=batch)
        better = found.success & (found.norm < radius[right])
        rows = right[better]
        nearest[rows], radius[rows], winner[rows] = found.x[better], found.norm[better].double(), number
    return Curve(tuple(eps), radius, winner, nearest, ((len(right),) * len(attacks),) * len(eps))


def curve(
    attacks: InputAttack | Sequence[InputAttack],
    victim: Victim,
    x: Tensor,
    y: Tensor | None = None,
    *,
    eps: Sequence[float],
    generator: Draws | torch.Generator | int | None = None,
    batch: int = 64,
    before: Callable[[int, float, int, float], None] | None = None,
) -> Curve:
    """Return how far each sample withstands the attacks, run in order on the samples that are left.

    Args:
        attacks: one or more; their own radius is replaced by those of `eps`.
        victim: the model under attack.
        x: clean inputs, `(N, ...)`.
        y: labels; None for the victim's own predictions.
        eps: radii in input units, ascending.
        generator: draws, a torch generator or a seed.
        batch: samples attacked at once.
        before: is told before each run: the attack's place, the radius, how many samples are left, and their share.
    """
    attacks = [attacks] if isinstance(attacks, InputAttack) else list(attacks)
    if not attacks or not eps or list(eps) != sorted(set(eps)) or eps[0] <= 0:
        raise ConfigError(f"a curve needs attacks, and positive radii in ascending order, not {list(eps)}")
    draws = as_draws(generator, len(x), x.device)
    clean = attacks[0].at(0)(victim, x, y, generator=draws, batch=batch)
    worst = clean.x.clone()
    radius = torch.where(clean.success, 0.0, torch.inf).double()
    winner = torch.full_like(clean.queries, -1)
    tried: list[tuple[int, ...]] = []
    for place, size in enumerate(eps):
        left = radius.isinf().nonzero().squeeze(1)
        if place:  # the smaller ball's points, carried to the larger ball's surface
            worst[left] = clean.x[left] + (worst[left] - clean.x[left]) * (size / eps[place - 1])
        counts = [0] * len(attacks)
        for number, attack in enumerate(attacks):
            left = radius.isinf().nonzero().squeeze(1)
            if not len(left):
                break
            counts[number] = len(left)
            if before is not None:
                before(number, size, len(left), len(left) / len(x))
            found = attack.at(size)(
                victim,
                x[left],
                None if y is None else y[left],
                generator=draws.child(place).child(number)[left],
                start=worst[left] if place or number else None,
                batch=batch,
            )
            fell = left[found.success]
            worst[left], radius[fell], winner[fell] = found.x, size, number
        tried.append(tuple(counts))
    return Curve(tuple(eps), radius, winner, worst, tuple(tried))
