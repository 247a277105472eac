"""Attackers who know of the tracers: what they attack in place of a copy."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from withstand.core.random import Draws
from withstand.models.pictures.tracers import TracedCopy, common_scale


class MeanCopy(nn.Module):
    """The mean of several buyers' copies: what they attack who pool them.

    Args:
        copies: theirs.
    """

    def __init__(self, copies: Sequence[TracedCopy]) -> None:
        super().__init__()
        self.copies = nn.ModuleList(copies)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([copy(x) for copy in self.copies]).mean(0)


class _Guided(nn.Module, ABC):
    """Base of networks that say what a copy says, and have other slopes: those by which an attacker goes.

    Args:
        copy: the attacker's own.
    """

    def __init__(self, copy: TracedCopy) -> None:
        super().__init__()
        self.copy = copy

    @abstractmethod
    def guide(self, x: Tensor) -> Tensor:
        """Return the logits whose slopes are followed."""

    def forward(self, x: Tensor) -> Tensor:
        guide = self.guide(x)
        with torch.no_grad():
            said = self.copy(x)
        found: Tensor = said + (guide - guide.detach())
        return found


class Evading(_Guided):
    """A copy whose attacker goes by the classifier, and pushes the tracer the other way as well.

    Args:
        copy: the attacker's own.
        avoid: what the tracer weighs, against its own direction; 0 leaves it alone.
    """

    def __init__(self, copy: TracedCopy, avoid: float = 0.3) -> None:
        super().__init__(copy)
        self.avoid = avoid

    def guide(self, x: Tensor) -> Tensor:
        told: Tensor = self.copy.tracer(x)[0]
        return common_scale(self.copy.classifier(x)) - self.avoid * told


class Smoothed(_Guided):
    """A copy whose attacker goes by its mean over noise, in which a tracer that reacts to noise cancels out.

    Args:
        copy: the attacker's own.
        draws: of the noise, the same at every step.
        sigma: its deviation.
        seed: of the noise.
    """

    def __init__(self, copy: TracedCopy, draws: int = 8, sigma: float = 0.05, seed: int = 0) -> None:
        super().__init__(copy)
        self.draws, self.sigma, self.seed = draws, sigma, seed

    def guide(self, x: Tensor) -> Tensor:
        noise = self.sigma * Draws(self.seed, torch.arange(self.draws, device=x.device)).normal(*x.shape[1:]).to(x)
        many = (x[:, None] + noise).flatten(0, 1)
        mean: Tensor = self.copy(many).unflatten(0, (len(x), self.draws)).mean(1)
        return mean
