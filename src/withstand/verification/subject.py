"""What is certified: a classifier as a victim and as a captured network, its samples and their regions.

Sizes: `N` samples, `C` classes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError, DataError
from withstand.core.threat import Ball
from withstand.core.victim import Victim
from withstand.verification.box import Region
from withstand.verification.capture import capture
from withstand.verification.margins import margin_weights
from withstand.verification.network import Network

TIE = 1e-6
"""A margin that a float32 forward pass cannot tell from a tie; a proof has to exceed it."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A classifier and the samples it is certified at.

    Attributes:
        victim: the real model, which counterexamples are replayed through.
        network: what was captured of it, in float64.
        x: clean inputs, `(N, *shape)`.
        y: the classes that shall hold, `(N,)`.
        right: which samples are right before any change.
    """

    victim: Victim
    network: Network
    x: Tensor
    y: Tensor
    right: Tensor

    @classmethod
    def of(cls, model: nn.Module | Victim, x: Tensor, y: Tensor | None) -> "Subject":
        """Capture a model and look at its clean answers; without `y`, these are what shall hold."""
        victim = model if isinstance(model, Victim) else Victim(model)
        x = victim.check(x.detach())
        network = capture(victim, x)
        with victim.held(), torch.no_grad():
            answers = torch.cat([victim.output(part.clone()).argmax(1) for part in torch.split(x, 256)])
        y = answers if y is None else y.to(x.device)
        if y.shape != answers.shape:
            raise DataError(f"y must be one label a sample, ({len(x)},), not {tuple(y.shape)}")
        margin_weights(y, network.classes)  # refuses labels that are no classes
        return cls(victim, network, x, y, answers == y)

    @property
    def weight(self) -> Tensor:
        """The margins, `(N, C - 1, C)`."""
        return margin_weights(self.y, self.network.classes)

    def region(self, ball: Ball, rows: Tensor | slice = slice(None), eps: Tensor | None = None) -> Region:
        """Return the ball round some samples, clipped to the victim's range; `eps` gives each its own radius."""
        if ball.targeted:
            raise ConfigError("a certificate is against every wrong class: give a ball with targeted=False")
        return Region.around(self.x[rows], ball, low=self.victim.low, high=self.victim.high, eps=eps)
