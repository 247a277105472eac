"""Where and by how much an attacker can change an input: entries that are there, whole numbers by whole numbers."""

from dataclasses import dataclass

import torch
from torch import Tensor

from withstand.core.errors import DataError

_ROUNDING = 1e-5
"""Part of a step that single precision may lose on the way to it."""


@dataclass(frozen=True, eq=False)
class Changeable:
    """What of an input may be changed.

    Attributes:
        free: where it may be changed at all, bool of one input's shape `(W,)`.
        step: the size of the steps by which an entry changes, `(W,)`; 0 for any size.
        unless: the place of the entry that, above 0.5, says that this one is missing, and then it does not change; -1
            for none, int64 `(W,)`.
    """

    free: Tensor
    step: Tensor
    unless: Tensor

    def mask(self, x: Tensor, eps: float | None = None) -> Tensor:
        """Return where inputs `(N, W)` may be changed, bool: not what is missing, nor by steps larger than `eps`."""
        free, unless, step = (value.to(x.device) for value in (self.free, self.unless, self.step))
        gone = torch.where(unless < 0, 0.0, x[:, unless.clamp_min(0)]) > 0.5
        if eps is not None:
            free = free & (step <= eps * (1 + _ROUNDING))
        return free & ~gone

    def in_steps(self, worse: Tensor, x: Tensor, low: float, high: float) -> tuple[Tensor, ...]:
        """Return attacked inputs with whole steps from `x`: those towards it, the nearest, and those away from it."""
        step = self.step.to(x.device).double()
        stepped = step > 0
        unit = torch.where(stepped, step, 1.0)
        clean = x.double()
        count = (worse.double() - clean) / unit
        least, most = ((low - clean) / unit - _ROUNDING).ceil(), ((high - clean) / unit + _ROUNDING).floor()
        found = []
        for steps in (
            torch.trunc(count + _ROUNDING * count.sign()),
            count.round(),
            count.sign() * (count.abs() - _ROUNDING).ceil(),
        ):
            point = (clean + steps.clamp(least, most) * unit).clamp(low, high).to(worse.dtype)
            found.append(torch.where(stepped, point, worse))
        return tuple(found)


def free_of(changeable: Tensor | Changeable, x: Tensor, eps: float | None) -> Tensor:
    """Return where inputs `(N, ...)` may be changed, bool, within `eps` where one is given.

    Raises:
        DataError: this is told of inputs of another shape.
    """
    free = changeable.free if isinstance(changeable, Changeable) else changeable
    if free.shape != x.shape[1:]:
        raise DataError(f"changeable has shape {tuple(free.shape)}, inputs have {tuple(x.shape[1:])}")
    if isinstance(changeable, Changeable):
        return changeable.mask(x, eps)
    return free.to(x.device, torch.bool).expand_as(x)


def in_steps(
    changeable: Tensor | Changeable | None, worse: Tensor, x: Tensor, low: float, high: float
) -> tuple[Tensor, ...]:
    """Return attacked inputs in whole steps from `x`, as `Changeable` does; as they are where nothing has steps."""
    if not isinstance(changeable, Changeable) or not len(x) or not bool(changeable.step.any()):
        return (worse,)
    return changeable.in_steps(worse, x, low, high)
