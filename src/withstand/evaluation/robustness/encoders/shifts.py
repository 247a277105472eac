"""Shifts: how far anything in an audit moved each embedding, counted in every ball that holds the input.

Sizes: `N` samples, `R` radii of a norm, `D` width. The shift is 1 - cosine similarity to the sample's own clean
embedding; a sample is confused where another one's clean embedding is nearer.
"""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from withstand.core.threat import Ball, Norm
from withstand.evaluation.statistics.intervals import Share

TIE = 1e-6
"""Cosines that differ by no more are equal: two samples with the same code confuse nobody."""


class Shifts:
    """The farthest that each embedding was moved, at each radius of each norm.

    Args:
        embed: inputs `(M, ...)` to embeddings `(M, D)`.
        x: clean inputs, `(N, ...)`.
        radii: by norm, ascending.
    """

    def __init__(self, embed: Callable[[Tensor], Tensor], x: Tensor, radii: Mapping[Norm, tuple[float, ...]]) -> None:
        self.embed, self.x, self.radii = embed, x, dict(radii)
        self.clean = embed(x)
        self._unit = F.normalize(self.clean.flatten(1).float())
        self._shift = {norm: torch.zeros(len(of), len(x), device=x.device) for norm, of in radii.items()}
        self._confused = {
            norm: torch.zeros(len(of), len(x), dtype=torch.bool, device=x.device) for norm, of in radii.items()
        }

    def add(self, ball: Ball, x: Tensor) -> None:
        """Count inputs of the first samples, one each, `(M, ...)`, that were sought in a ball."""
        rows = torch.arange(len(x), device=x.device)
        near = F.normalize(self.embed(x).flatten(1).float()) @ self._unit.T
        own = near.gather(1, rows[:, None]).squeeze(1)
        others = near.scatter(1, rows[:, None], -torch.inf).amax(1)
        shift, confused = (1 - own).clamp_min(0), others > own + TIE
        delta = (x - self.x[: len(x)]).double()
        for norm, radii in self.radii.items():
            size = Ball(norm).size(delta)
            if norm == ball.norm:  # by its own word no larger, whatever rounding says
                size = size.clamp_max(ball.eps)
            inside = torch.tensor(radii, dtype=torch.float64, device=size.device)[:, None] >= size
            seen = self._shift[norm][:, : len(x)]
            self._shift[norm][:, : len(x)] = torch.where(inside, torch.maximum(seen, shift), seen)
            self._confused[norm][:, : len(x)] |= inside & confused

    def mean(self, norm: Norm, eps: float) -> float:
        """Return the mean shift within a radius of the norm's list."""
        return self._shift[norm][self.radii[norm].index(eps)].mean().item()

    def who(self, norm: Norm, eps: float) -> Tensor:
        """Return which samples were confused within a radius of the norm's list, bool `(N,)`."""
        return self._confused[norm][self.radii[norm].index(eps)]

    def confused(self, norm: Norm, eps: float) -> Share:
        """Return the share of samples confused within a radius of the norm's list."""
        return Share.of(self.who(norm, eps))

    @property
    def apart(self) -> float:
        """The mean shift that would turn one sample's embedding into another's; not a number for a single sample."""
        count = len(self._unit)
        if count < 2:
            return float("nan")
        together = self._unit.double().sum(0).square().sum().item()
        return 1 - (together - count) / (count * (count - 1))
