"""Problem: one chunk of samples under attack - the surface that every attack's search works on.

Shapes: inputs `(N, ...)` of any shape, values `(N,)`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from withstand.attacks.inputs.l1 import project_l1_box
from withstand.attacks.objectives import Objective, pick
from withstand.core.errors import DataError
from withstand.core.threat import Ball, as_rows, keep_largest, per_sample
from withstand.core.victims.answers import NetworkError
from withstand.core.victims.victim import Outputs, Victim

AT_ONCE = 64
"""Rows up to which attacks on several classes run side by side: few samples fill no pass by themselves."""

DEEP = 5
"""Convolutions from which on a network gains by channels-last, and by fewer digits."""


def is_deep(model: nn.Module) -> bool:
    """Say whether a network has `DEEP` convolutions or more."""
    return sum(isinstance(module, nn.Conv2d) for module in model.modules()) >= DEEP


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
        reach: the smallest and the largest value of each entry inside ball, range and mask; Linf only.
        copies: whether the victim is handed copies, since it may work on its input in place.
        asked_in: half precision, where inputs came in it: the search reckons in single, and the victim never notices.
        model: the victim itself where `victim` is a copy in half precision, to be asked what that leaves in doubt.
        doubt: that copy's error, as a part of the range of a sample's logits.
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
    reach: tuple[Tensor, Tensor] | None = None
    copies: bool = True
    asked_in: torch.dtype | None = None
    model: Victim | None = None
    doubt: float = 0.0

    def take(self, rows: Tensor) -> Self:
        """Return the problem of some of the samples, by mask or places; queries are counted together."""
        mask = None if self.mask is None else self.mask[rows]
        reach = None if self.reach is None else (self.reach[0][rows], self.reach[1][rows])
        return replace(self, x=self.x[rows], y=self.y[rows], mask=mask, rows=self.rows[rows], reach=reach)

    def alone(self) -> Self:
        """Return the problem as one of its own, with its own rows and count of queries."""
        rows = torch.arange(len(self.x), device=self.x.device)
        return replace(self, rows=rows, queries=torch.zeros_like(rows))

    @staticmethod
    def side_by_side(parts: Sequence["Problem"]) -> "Problem":
        """Return problems of the same samples and different goals as one of all their rows, one part after the other.

        Its rows and its count of queries are its own: whoever asks for it hands both on.
        """
        first = parts[0]
        lows, highs = ([part.reach[side] for part in parts if part.reach is not None] for side in (0, 1))
        masks = [part.mask for part in parts if part.mask is not None]
        joined = replace(
            first,
            x=torch.cat([part.x for part in parts]),
            y=torch.cat([part.y for part in parts]),
            mask=torch.cat(masks) if masks else None,
            reach=(torch.cat(lows), torch.cat(highs)) if lows else None,
        )
        return joined.alone()

    def values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gain, which attacks raise, and whether the goal is met. Without samples no victim is called."""
        if not len(x):
            return _nothing(x)
        with torch.no_grad():
            return self._judge(self.outputs(x), x)

    def gradient(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return gain, success, and the gradient of each sample's own gain, from one forward pass.

        Raises:
            NoGradient: the victim cuts the way from input to output.
            DataError: the victim gives NaN, or its gradient is not finite.
        """
        if not len(x):
            return *_nothing(x), torch.empty_like(x)
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
        slope = self.victim.slope(values, x, keep_graph=keep_graph)
        if slope is None:
            raise NoGradient(
                "the victim gives no gradient for its input: it detaches, rounds to integers or leaves torch; "
                "give a differentiable surrogate of that step"
            )
        # The sum is cheaper to look at, and finite when all are; but a sum of finite numbers may overflow.
        if not bool(torch.isfinite(slope.sum())) and not bool(torch.isfinite(slope).all()):
            raise DataError("the victim's gradient holds NaN or infinite values")
        if 0 in slope.stride():  # a sum's slope is one number seen many times, and attacks write on theirs
            slope = slope.clone(memory_format=torch.contiguous_format)
        return slope if self.mask is None else slope * self.mask

    def step(self, x: Tensor, gradient: Tensor, length: float) -> Tensor:
        """Return `x` moved by `length` in the direction that raises the gain most, then confined."""
        return self.confine(torch.add(x, self.ball.direction(gradient), alpha=length))

    def confine(self, x: Tensor) -> Tensor:
        """Return `x` projected into the ball round the clean input and the victim's range.

        L1 and L0: exactly, by the nearest point of both. Otherwise the range comes second: clipping moves each entry
        towards the clean input, so it never leaves the ball again.
        """
        if self.reach is not None:
            return torch.clamp(x, *self.reach)
        delta = x - self.x
        if self.mask is not None:
            delta = delta * self.mask
        low, high = self.victim.low, self.victim.high
        if self.ball.norm == "l1":
            each, least, most = (self.ball.apart(value) for value in (delta, low - self.x, high - self.x))
            delta = project_l1_box(each, least, most, self.ball.eps).view_as(delta)
        elif self.ball.norm == "l0":
            inside = delta.clamp(low - self.x, high - self.x)
            # What keeping an entry takes off the squared distance to the point that came.
            nearer = inside * (2 * delta - inside)
            delta = keep_largest(as_rows(inside), as_rows(nearer), self.ball.eps).view_as(delta)
        else:
            delta = self.ball.project(delta)
        return (self.x + delta).clamp(low, high)

    def inside(self, x: Tensor) -> Tensor:
        """Return confined points that no rounding leaves outside the ball: their distance, reckoned in full, is within.

        Sums over thousands of entries, and small changes of large numbers, are rounded by more than a millionth of eps.
        """
        exact = self.reach is not None and x.dtype == self.x.dtype  # rounded inwards already
        if exact or x.device.type == "mps":  # that device has no float64
            return x
        x, clean, shrink = x.clone(), self.x.double(), torch.finfo(x.dtype).eps / 2
        while True:
            delta = x.double() - clean
            size = self.ball.size(delta)
            outside = (size > self.ball.eps).nonzero().squeeze(1)
            if not len(outside):
                return x
            share = (self.ball.eps / size[outside] * (1 - shrink)).clamp_min(0)
            nearer = clean[outside] + delta[outside] * share.view(-1, *[1] * (x.dim() - 1))
            x[outside] = nearer.to(x.dtype).clamp(self.victim.low, self.victim.high)
            shrink = 2 * shrink

    def in_steps(self, x: Tensor) -> Tensor:
        """Return points whose entries lie whole steps from the clean input, where the victim's change by steps.

        The first success inside the ball of the points in steps towards the clean input, nearest by, and away from it;
        where there is none, the first of them.
        """
        first, *others = self.victim.in_steps(x, self.x)
        if not others or torch.equal(first, x):
            return x
        done = self.values(first)[1]
        for other in others:
            size = self.ball.size(other.double() - self.x.double())
            better = ~done & (size <= self.ball.eps * (1 + 1e-6)) & self.values(other)[1]
            first = torch.where(per_sample(better, first).bool(), other, first)
            done |= better
        return first

    def outputs(self, x: Tensor) -> Outputs:
        """Return what the victim says of `x`, a query of each sample."""
        self.queries[self.rows] += 1
        if self.asked_in is not None:
            return self.victim(x.to(self.asked_in, copy=True))
        if self.copies:
            return self.victim(x.clone())
        before = x._version
        outputs = self.victim(x)
        if x._version != before:
            raise DataError("the victim wrote on its input in place, but not on its first one: let it copy its input")
        return outputs

    def _judge(self, outputs: Outputs, x: Tensor) -> tuple[Tensor, Tensor]:
        self.objective.check(outputs, self.y)
        value = self.objective(outputs, self.y, x)
        if value.shape != self.rows.shape:
            raise DataError(f"an objective gives one value a sample, ({len(self.rows)},), not {tuple(value.shape)}")
        if bool(value.isnan().any()):
            raise DataError(f"the objective is NaN on {int(value.isnan().sum())} of {len(value)} samples")
        with torch.no_grad():
            success = self.objective.reached(outputs, self.y, targeted=self.ball.targeted)
            if self.model is not None:
                success = self._confirmed(success, outputs, x)
        return -value if self.ball.targeted else value, success

    def _confirmed(self, success: Tensor, outputs: Outputs, x: Tensor) -> Tensor:
        """Ask the victim itself where its copy claims a success in the ball, or might have missed one."""
        assert self.model is not None
        near = self.near(outputs, self.doubt) & (self.ball.size(x.detach() - self.x) <= self.ball.eps * (1 + 1e-5))
        rows = near.nonzero().squeeze(1)
        if len(rows):
            part = self.take(rows)
            said = replace(part, victim=self.model, model=None).outputs(x.detach()[rows])
            success[rows] = self.objective.reached(said, part.y, targeted=False)
        return success

    def near(self, outputs: Outputs, share: float) -> Tensor:
        """Return which samples are wrong, or right by at most a share of the range of their logits, bool `(N,)`."""
        logits = pick(outputs, getattr(self.objective, "output", "logits"))
        label = self.y if self.y.dim() == 1 else self.y[:, 0]
        own = logits.gather(1, label[:, None]).squeeze(1)
        margin = logits.scatter(1, label[:, None], -torch.inf).amax(1) - own
        return margin > -share * (logits.amax(1) - logits.amin(1))


def _nothing(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the values of no samples: many a network cannot be called without any."""
    gain = x.detach().new_empty(0, dtype=torch.promote_types(x.dtype, torch.float32))
    return gain, gain.bool()


def make_problem(
    victim: Victim,
    objective: Objective,
    ball: Ball,
    x: Tensor,
    y: Tensor | None,
    mask: Tensor | None = None,
    *,
    copies: bool = True,
) -> Problem:
    """Return the problem of attacking `x`; without `y`, the victim's clean outputs are asked for it."""
    asked_in = x.dtype if x.dtype in (torch.float16, torch.bfloat16) else None
    count, mask, asked, x = len(x), victim.allowed(x, mask, eps=_most(ball)), x, x if asked_in is None else x.float()
    queries = torch.zeros(count, dtype=torch.int64, device=x.device)
    flat = y is None and objective.flat_at_clean
    if y is None:
        with torch.no_grad():
            y = objective.reference(victim(asked.clone()))
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
        reach=_reach(victim, ball, x, mask),
        copies=copies,
        asked_in=asked_in,
    )


def _most(ball: Ball) -> float | None:
    """Return by how much a ball lets one entry change; None where it does not say."""
    return None if ball.norm == "l0" or not ball.eps else ball.eps


def _reach(victim: Victim, ball: Ball, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor] | None:
    if ball.norm != "linf":
        return None
    lowest, highest = (_at(x, side).clamp(victim.low, victim.high) for side in (-ball.eps, ball.eps))
    if mask is None:
        return lowest, highest
    return torch.where(mask, lowest, x), torch.where(mask, highest, x)


def _at(x: Tensor, step: float) -> Tensor:
    """Return `x + step`, rounded towards `x`, so that no point is farther away than that."""
    if x.device.type == "mps":  # it has no float64 to reckon in
        return x + step
    exact = x.double() + step
    found = exact.to(x.dtype)
    beyond = (found.double() - exact) * (1 if step > 0 else -1) > 0
    return torch.where(beyond, torch.nextafter(found, x), found)


def layout_and_writes(victim: Victim, x: Tensor) -> tuple[torch.memory_format, bool]:
    """Return the layout in which the victim is fastest, and whether it writes on its input.

    The layout is channels-last for pictures on a CPU, where deep convolutional networks are a fifth faster in it, and
    shallow ones slower. A victim that calls `view` on its pictures refuses that layout, and meets its inputs as they
    are.

    Args:
        victim: held.
        x: one input or more.
    """
    shallow = isinstance(victim.model, nn.Module) and not is_deep(victim.model)
    pictures = x.dim() == 4 and x.device.type == "cpu" and not shallow
    layouts = [torch.channels_last, torch.contiguous_format] if pictures else [torch.contiguous_format]
    for layout in layouts:
        seen = x.contiguous(memory_format=layout).clone()
        before = seen._version
        try:
            with torch.no_grad():
                victim(seen)
        except NetworkError as error:
            if layout is layouts[-1] or "view size is not compatible" not in str(error):
                raise
            continue
        return layout, seen._version != before or not torch.equal(seen, x)
    raise AssertionError
