"""Problem: one chunk of samples under attack - the surface that every attack's search works on.

Shapes: inputs `(N, ...)` of any shape, values `(N,)`.
"""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from withstand.attacks.l1 import project_l1_box
from withstand.attacks.objectives import Objective
from withstand.core.errors import DataError
from withstand.core.threat import Ball
from withstand.core.victim import Outputs, Victim


class NoGradient(DataError):
    """The victim's output does not depend on its input by differentiable steps."""


@dataclass(frozen=True)
class Problem:
    """What is attacked, from where, and how far.

    Attributes:
        victim: the model, held for the span of the attack.
        objective: what is raised, or lowered when the ball is targeted.
        ball: how far an input may be moved.
        x: clean inputs, inside the victim's range.
        y: labels, targets or reference embeddings.
        mask: where change is allowed, bool, shaped like `x`; None for everywhere.
        queries: forward passes spent on each sample of the whole chunk.
        rows: the places of these samples in the chunk.
        flat: whether the gradient vanishes on the clean inputs, so that a search must start elsewhere.
        layout: the memory format in which the victim meets its inputs.
    """

    victim: Victim
    objective: Objective
    ball: Ball
    x: Tensor
    y: Tensor
    mask: Tensor | None
    queries: Tensor
    rows: Tensor
    flat: bool
    layout: torch.memory_format = torch.preserve_format

    def take(self, rows: Tensor) -> Self:
        """Return the problem of some of the samples, by mask or places; queries are counted together."""
        mask = None if self.mask is None else self.mask[rows]
        return replace(self, x=self.x[rows], y=self.y[rows], mask=mask, rows=self.rows[rows])

    def values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gain, which attacks raise, and whether the goal is met."""
        with torch.no_grad():
            return self._judge(self.outputs(x), x)

    def gradient(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return gain, success, and the gradient of each sample's own gain, from one forward pass.

        Raises:
            NoGradient: the victim cuts the way from input to output.
            DataError: the victim gives NaN, or its gradient is not finite.
        """
        with torch.enable_grad():
            x = x.detach().requires_grad_(True)
            gain, success = self._judge(self.outputs(x), x)
            return gain.detach(), success, self.slope(gain, x)

    def slope(self, values: Tensor, x: Tensor, *, keep_graph: bool = False) -> Tensor:
        """Return the gradient of each sample's own value, shaped like `x`, and zero outside the mask.

        Args:
            values: `(N,)`, computed from `x`.
            x: the inputs, which require gradients.
            keep_graph: whether another slope will be asked of the same forward pass.

        Raises:
            NoGradient: the victim cuts the way from input to output.
            DataError: the gradient is not finite.
        """
        slope = None
        if values.requires_grad:
            slope = torch.autograd.grad(values.sum(), x, allow_unused=True, retain_graph=keep_graph)[0]
        if slope is None:
            raise NoGradient(
                "the victim gives no gradient for its input: it detaches, rounds to integers or leaves torch; "
                "give a differentiable surrogate of that step"
            )
        if not bool(torch.isfinite(slope).all()):
            raise DataError("the victim's gradient holds NaN or infinite values")
        return slope if self.mask is None else slope * self.mask

    def step(self, x: Tensor, gradient: Tensor, length: float) -> Tensor:
        """Return `x` moved by `length` in the direction that raises the gain most, then confined."""
        return self.confine(x + length * self.ball.direction(gradient))

    def confine(self, x: Tensor) -> Tensor:
        """Return `x` projected into the ball round the clean input and the victim's range.

        L1: exactly, by the nearest point of both. Otherwise the range comes second: clipping moves each entry
        towards the clean input, so it never leaves the ball again.
        """
        delta = x - self.x
        if self.mask is not None:
            delta = delta * self.mask
        low, high = self.victim.low, self.victim.high
        if self.ball.norm == "l1":
            delta = project_l1_box(delta, low - self.x, high - self.x, self.ball.eps)
        else:
            delta = self.ball.project(delta)
        return (self.x + delta).clamp(low, high)

    def outputs(self, x: Tensor) -> Outputs:
        """Return what the victim says of `x`, a query of each sample."""
        self.queries[self.rows] += 1
        return self.victim(x.clone(memory_format=self.layout))  # a copy: a model may work on its input in place

    def _judge(self, outputs: Outputs, x: Tensor) -> tuple[Tensor, Tensor]:
        self.objective.check(outputs, self.y)
        value = self.objective(outputs, self.y, x)
        if value.shape != self.rows.shape:
            raise DataError(f"an objective gives one value a sample, ({len(self.rows)},), not {tuple(value.shape)}")
        if bool(value.isnan().any()):
            raise DataError(f"the objective is NaN on {int(value.isnan().sum())} of {len(value)} samples")
        with torch.no_grad():
            success = self.objective.reached(outputs, self.y, targeted=self.ball.targeted)
        return -value if self.ball.targeted else value, success


def pose(
    victim: Victim, objective: Objective, ball: Ball, x: Tensor, y: Tensor | None, mask: Tensor | None = None
) -> Problem:
    """Return the problem of attacking `x`; without `y`, the victim's clean outputs are asked for it."""
    count, mask = len(x), victim.allowed(x, mask)
    queries = torch.zeros(count, dtype=torch.int64, device=x.device)
    flat = y is None and objective.flat_at_clean
    if y is None:
        with torch.no_grad():
            y = objective.reference(victim(x.clone()))
        queries += 1
    return Problem(
        victim=victim,
        objective=objective,
        ball=ball,
        x=x,
        y=y.to(x.device),
        mask=mask,
        queries=queries,
        rows=torch.arange(count, device=x.device),
        flat=flat,
    )


def fast_layout(victim: Victim, x: Tensor) -> torch.memory_format:
    """Return channels-last for pictures on a CPU, where convolutions are a fifth faster in it.

    A victim that calls `view` on its pictures refuses that layout, and meets its inputs as they are.
    """
    if x.dim() != 4 or x.device.type != "cpu":
        return torch.preserve_format
    try:
        with torch.no_grad():
            victim(x[:1].clone(memory_format=torch.channels_last))
    except RuntimeError as error:
        if "view size is not compatible" not in str(error):
            raise
        return torch.contiguous_format
    return torch.channels_last
