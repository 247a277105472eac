"""What is certified: a classifier as a victim and as a captured network, its samples and their regions.

Sizes: `N` samples, `C` classes.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError, DataError
from withstand.core.threat import Ball
from withstand.core.victims.victim import Victim
from withstand.verification.bounds.margins import margin_weights
from withstand.verification.bounds.receptive_field import rows_of
from withstand.verification.network.capture import capture
from withstand.verification.network.capture_check import compare
from withstand.verification.network.network import Network
from withstand.verification.specification.box import Region, inward
from withstand.verification.specification.property import TIE

_TIES = 8
"""A proof has to exceed so many times the largest difference seen between the model's outputs and the network's."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A classifier and the samples it is certified at.

    Attributes:
        victim: the real model, which counterexamples are replayed through.
        network: what was captured of it, in float64.
        x: clean inputs, `(N, *shape)`.
        y: the classes that shall hold, `(N,)`.
        right: which samples are right before any change.
        tie: a margin that the model's own arithmetic may not tell from a tie; a proof has to exceed it.
    """

    victim: Victim
    network: Network
    x: Tensor
    y: Tensor
    right: Tensor
    tie: float = TIE

    @classmethod
    def of(cls, model: nn.Module | Victim, x: Tensor, y: Tensor | None, ball: Ball) -> "Subject":
        """Capture a model, compare both in the ball, and look at its clean answers; None for `y`: these shall hold."""
        victim = model if isinstance(model, Victim) else Victim(model)
        x = victim.check(x.detach())
        victim.examine(x)
        network = capture(victim, x, check=False)
        with victim.held(), torch.no_grad():
            answers = torch.cat([victim.output(part.clone()).argmax(1) for part in torch.split(x, 256)])
        y = answers if y is None else y.to(x.device)
        if y.shape != answers.shape:
            raise DataError(f"y must be one label a sample, ({len(x)},), not {tuple(y.shape)}")
        margin_weights(y, network.classes)  # refuses labels that are no classes
        subject = cls(victim, network, x, y, answers == y)
        # Wrong in a batch and right alone: rounding decides, and no proof will.
        wrong = (~subject.right).nonzero().squeeze(1)
        subject.right[wrong] = subject.answers(x[wrong]) == y[wrong]
        with victim.held(), torch.no_grad():
            off = compare(network, victim, subject.region(ball), x.dtype)
        return replace(subject, tie=max(TIE, _TIES * off))

    def answers(self, points: Tensor) -> Tensor:
        """Return the model's class for each point `(B, *shape)`, each asked alone, int64 `(B,)`."""
        with self.victim.held(), torch.no_grad():
            found = [self.victim.output(point[None].clone()).argmax(1) for point in points]
        return torch.cat(found) if found else torch.zeros(0, dtype=torch.long, device=points.device)

    def shown(self, points: Tensor, ball: Ball, row: int) -> Tensor:
        """Return points `(B, *shape)` as the model is shown them: of its own type, and in the ball round one sample.

        What lies outside by a rounding is pulled in; every entry is rounded towards the sample's.
        """
        center = self.x[row].double()
        delta = points.double() - center
        free = self.victim.allowed(self.x[row : row + 1])
        if free is not None:
            delta = delta.masked_fill(~free, 0)
        if ball.norm == "linf":
            delta = delta.clamp(-ball.eps, ball.eps)
        else:
            size = torch.linalg.vector_norm(rows_of(delta), ord=2 if ball.norm == "l2" else 1, dim=1)
            factor = (ball.eps / size.clamp_min(1e-300)).clamp_max(1)
            delta = delta * factor.view(-1, *[1] * center.dim())
        point = (center + delta).clamp(self.victim.low, self.victim.high)
        point = self.victim.in_steps(point, center.expand_as(point))[0]
        return inward(point, torch.minimum(point, center), torch.maximum(point, center), self.x.dtype)

    def breaks(self, points: Tensor, ball: Ball, row: int) -> Tensor:
        """Return which points `(B, *shape)` the model itself gets wrong as it is shown them, bool `(B,)`."""
        return self.answers(self.shown(points, ball, row)) != self.y[row]

    @property
    def weight(self) -> Tensor:
        """The margins, `(N, C - 1, C)`."""
        return margin_weights(self.y, self.network.classes)

    def region(self, ball: Ball, rows: Tensor | slice = slice(None), eps: Tensor | None = None) -> Region:
        """Return the ball round some samples, as far as the victim allows change; `eps` gives each its own radius."""
        if math.isinf(self.victim.span):
            raise ConfigError(
                "a certificate needs an input range with ends, for proofs allow for rounding of its largest number: "
                "give the victim low= and high="
            )
        if ball.targeted:
            raise ConfigError("a certificate is against every wrong class: give a ball with targeted=False")
        x = self.x[rows]
        free = self.victim.allowed(x)
        return Region.around(x, ball, low=self.victim.low, high=self.victim.high, eps=eps, free=free)
