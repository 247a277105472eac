"""Breaks: every wrong answer that an audit meets, counted in every ball that holds the input.

The accuracy at a radius is that under all attacks of the whole audit: what noise, a surrogate's attacks, a smaller
radius, another norm or a check's run broke is not counted as withstanding. Sizes: `N` samples.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from withstand.attacks.curve import Curve
from withstand.core.threat import Ball, Norm

ELSEWHERE = "an attack in another norm"
"""What broke a sample in a norm that the attack was not made for."""


class Breaks:
    """What broke which sample, at which radius of which norm.

    Args:
        x: clean inputs, `(N, ...)`.
        right: which samples are right before any change, bool `(N,)`; the others hold nowhere.
        radii: by norm, ascending.
    """

    def __init__(self, x: Tensor, right: Tensor, radii: Mapping[Norm, tuple[float, ...]]) -> None:
        self.x, self.right, self.radii = x, right, dict(radii)
        self.names: list[str] = []
        clean = torch.where(right, torch.inf, 0.0).double()
        self._radius = {norm: clean.clone() for norm in radii}
        self._by = {norm: torch.full_like(clean, -1, dtype=torch.int64) for norm in radii}
        self._worst = {norm: x.clone() for norm in radii}
        self._tried: set[tuple[str, Norm, float]] = set()

    def add(self, name: str, ball: Ball, rows: Tensor, x: Tensor) -> None:
        """Count inputs that the victim got wrong.

        Args:
            name: of the attack that found them.
            ball: in which it looked for them.
            rows: places of the samples, int64 `(M,)`.
            x: the inputs, `(M, ...)`.
        """
        delta = (x - self.x[rows]).double()
        for norm, radii in self.radii.items():
            size = Ball(norm).size(delta)
            if norm == ball.norm:  # by its own word no larger, whatever rounding says
                size = size.clamp_max(ball.eps)
            grid = torch.tensor((*radii, torch.inf), dtype=torch.float64, device=size.device)
            radius = grid[torch.bucketize(size, grid[:-1])]
            new = radius < self._radius[norm][rows]
            if not bool(new.any()):
                continue
            place = rows[new]
            self._radius[norm][place] = radius[new]
            self._by[norm][place] = self._place(name if norm == ball.norm else ELSEWHERE)
            self._worst[norm][place] = x[new]

    def add_curve(self, names: Sequence[str], curve: Curve, norm: Norm) -> None:
        """Count what a curve's attacks, called so, broke within one norm."""
        for eps, tried in zip(curve.eps, curve.tried, strict=True):
            for number, name in enumerate(names):
                if tried[number]:
                    self.tried(name, norm, eps)
                rows = ((curve.radius == eps) & (curve.winner == number)).nonzero().squeeze(1)
                self.add(name, Ball(norm, eps), rows, curve.x[rows])

    def tried(self, name: str, norm: Norm, eps: float) -> None:
        """Note that an attack was run within a ball, whatever it found."""
        self._place(name)
        self._tried.add((name, norm, eps))

    def holds(self, norm: Norm, eps: float) -> Tensor:
        """Return which samples nothing broke within a radius of the norm's list, bool `(N,)`."""
        return self._radius[norm] > eps

    def radius(self, norm: Norm) -> Tensor:
        """Return the smallest radius of the list at which each sample fell, `(N,)`; 0 and infinite as for a `Curve`."""
        return self._radius[norm]

    def worst(self, norm: Norm) -> Tensor:
        """Return the inputs that broke the samples, else the clean ones."""
        return self._worst[norm]

    def newly(self, name: str, norm: Norm, eps: float) -> float | None:
        """Return the share of all samples that an attack broke at this radius, and nothing did at a smaller one.

        None where the attack was not run at this radius and has broken nothing at it.
        """
        broke = (self._radius[norm] == eps) & (self._by[norm] == self._place(name))
        if not bool(broke.any()) and (name, norm, eps) not in self._tried:
            return None
        return broke.double().mean().item()

    def _place(self, name: str) -> int:
        if name not in self.names:
            self.names.append(name)
        return self.names.index(name)
