"""Regions of inputs: norm balls clipped to the valid range, and plain boxes. Sizes: `N` samples."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from withstand.core.errors import DataError
from withstand.core.threat import Ball, Norm
from withstand.verification.bounds.receptive_field import Window, rows_of


@dataclass(frozen=True, eq=False)
class Region:
    """One set of inputs for each of N samples: `low <= x <= high`, and `|x - center| <= eps` in L2 or L1.

    Attributes:
        low: smallest values, `(N, *shape)`.
        high: largest values.
        norm: "linf" where the box says it all.
        center: the ball's centre; None for "linf".
        eps: the ball's radius `(N,)`; None for "linf".
    """

    low: Tensor
    high: Tensor
    norm: Norm = "linf"
    center: Tensor | None = None
    eps: Tensor | None = None

    def __len__(self) -> int:
        return len(self.low)

    @classmethod
    def box(cls, low: Tensor, high: Tensor) -> "Region":
        """Return boxes.

        Raises:
            DataError: shapes that differ, values that are not finite, or an empty box.
        """
        if low.shape != high.shape or not low.is_floating_point() or not high.is_floating_point():
            raise DataError(
                "a box needs low and high as floating tensors of one shape, "
                f"not {low.dtype} {tuple(low.shape)} and {high.dtype} {tuple(high.shape)}"
            )
        if not bool((torch.isfinite(low) & torch.isfinite(high)).all()):
            raise DataError("a box's low and high must be finite")
        if bool((low > high).any()):
            raise DataError(f"a box is empty: low is above high in {int((low > high).sum())} places")
        return cls(low, high)

    @classmethod
    def around(
        cls,
        x: Tensor,
        ball: Ball,
        *,
        low: float = 0.0,
        high: float = 1.0,
        eps: Tensor | None = None,
        free: Tensor | None = None,
    ) -> "Region":
        """Return the ball round each sample, clipped to the valid range, in float64.

        Args:
            x: clean inputs, `(N, *shape)`.
            ball: norm and radius.
            low: smallest valid value.
            high: largest valid value.
            eps: a radius for each sample, `(N,)`, in place of the ball's.
            free: which entries may change at all, bool shaped like `x`; None for all.

        Raises:
            ConfigError: a ball round each token.
            DataError: an `x` that is not floating, not finite, or outside the range: the region would be empty.
        """
        ball.refuse_tokens("a certificate")
        ball.refuse_l0("a certificate")
        if not x.is_floating_point() or not bool(torch.isfinite(x).all()):
            raise DataError(f"inputs must be finite floating numbers, not {x.dtype}")
        slack = 1e-6 * (high - low)
        if x.numel() and (x.min() < low - slack or x.max() > high + slack):
            raise DataError(
                f"inputs lie in [{x.min():.4g}, {x.max():.4g}], outside the valid range [{low:g}, {high:g}]: "
                "give low= and high="
            )
        # What attacks call inside the ball is rounded to x's own type, entry by entry: the region is that much wider.
        unit = torch.finfo(x.dtype).eps * max(abs(low), abs(high))
        entries = x[0].numel() if len(x) else 1
        ulp = unit * {"linf": 1.0, "l2": max(1.0, entries**0.5 / 2), "l1": max(1.0, entries / 2)}[ball.norm]
        center = x.detach().double().clamp(low, high)
        radius = (torch.full((len(x),), ball.eps, dtype=torch.float64) if eps is None else eps).to(center)
        radius = torch.where(radius > 0, radius + ulp, radius)
        side = radius.view(-1, *[1] * (x.dim() - 1))
        lower, upper = (center - side).clamp_min(low), (center + side).clamp_max(high)
        if free is not None:
            lower, upper = torch.where(free, lower, center), torch.where(free, upper, center)
        if ball.norm == "linf":
            return cls(lower, upper)
        return cls(lower, upper, ball.norm, center, radius)

    def __getitem__(self, rows: Tensor | slice) -> "Region":
        center = None if self.center is None else self.center[rows]
        return Region(self.low[rows], self.high[rows], self.norm, center, None if self.eps is None else self.eps[rows])

    def cut(self, window: Window) -> "Region":
        """Return what of the region a window of pictures holds; the radius stays, and bounds with it."""
        center = None if self.center is None else window.cut(self.center)
        return Region(window.cut(self.low), window.cut(self.high), self.norm, center, self.eps)

    def to(self, dtype: torch.dtype, device: torch.device | None = None) -> "Region":
        """Return the region in another precision; a box is rounded outward, so that it still holds all."""
        if self.low.dtype == dtype and device in (None, self.low.device):
            return self
        low, high = (value.to(dtype=dtype, device=device) for value in (self.low, self.high))
        back = self.low.dtype
        low = torch.where(low.to(back) > self.low.to(low.device), low.nextafter(torch.full_like(low, -torch.inf)), low)
        up = torch.full_like(high, torch.inf)
        high = torch.where(high.to(back) < self.high.to(high.device), high.nextafter(up), high)
        if self.center is None or self.eps is None:
            return replace(self, low=low, high=high)
        center, eps = (value.to(dtype=dtype, device=device) for value in (self.center, self.eps))
        # The rounded centre is a little off: the ball grows by how far.
        order = 2 if self.norm == "l2" else 1
        moved = rows_of(center.to(self.center) - self.center)
        off = torch.linalg.vector_norm(moved, ord=order, dim=1)
        eps = ((self.eps + off) * (1 + 4 * torch.finfo(dtype).eps)).to(eps)
        return Region(low, high, self.norm, center, eps)

    def lowest(self, slope: Tensor) -> Tensor:
        """Return the point of each region where a linear function with slopes `(N, *shape)` is lowest.

        Of a ball, the lowest point of the ball itself, brought into the box.
        """
        if self.center is None or self.eps is None:
            return torch.where(slope > 0, self.low, self.high)
        flat, eps = rows_of(slope), self.eps[:, None]
        if self.norm == "l2":
            step = flat / torch.linalg.vector_norm(flat, dim=1, keepdim=True).clamp_min(1e-30)
        else:
            place = flat.abs().argmax(1, keepdim=True)
            step = torch.zeros_like(flat).scatter(1, place, flat.gather(1, place).sign())
        point = self.center - (eps * step).view_as(slope)
        return torch.minimum(torch.maximum(point, self.low), self.high)

    def sample(self, points: Tensor) -> Tensor:
        """Return points of the region from points of the unit cube: `(..., N, *shape)` in [0, 1]."""
        x = self.low + points.to(self.low) * (self.high - self.low)
        if self.center is None or self.eps is None:
            return x
        delta = (x - self.center).flatten(x.dim() - self.center.dim() + 1)
        size = torch.linalg.vector_norm(delta, ord=2 if self.norm == "l2" else 1, dim=-1).clamp_min(1e-300)
        factor: Tensor = (self.eps / size).clamp_max(1)
        return self.center + (x - self.center) * factor.view(*factor.shape, *[1] * (self.center.dim() - 1))


def inward(x: Tensor, low: Tensor, high: Tensor, dtype: torch.dtype) -> Tensor:
    """Return points of a box in another precision, rounded so that they stay inside.

    A box's own corner is seldom a number of the smaller precision: the nearest one may lie outside.
    """
    shown = torch.maximum(torch.minimum(x.to(low), high), low).to(dtype)
    up, down = torch.full_like(shown, torch.inf), torch.full_like(shown, -torch.inf)
    shown = torch.where(shown.to(low) < low, torch.nextafter(shown, up), shown)
    return torch.where(shown.to(high) > high, torch.nextafter(shown, down), shown)
