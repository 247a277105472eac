"""A teacher: a copy of a network that follows it slowly, by an exponential moving average of its parameters.

Mean teachers are better role models (2017); as the key encoder of MoCo (2019), the target of BYOL (2020), the
teacher of DINO (2021).
"""

import copy
import math
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError
from withstand.core.part import Part


@dataclass(frozen=True)
class Momentum(Part):
    """How much of itself a teacher keeps at each step: from `base` to `final` over the run.

    Args:
        base: m at the first step.
        final: m at the last one. 1 freezes the teacher there; None stays at `base`.
        course: by half a "cosine" (BYOL, DINO) or "linear" (I-JEPA, T-JEPA).

    >>> Momentum(0.9, 1.0).at(0, 100), Momentum(0.9, 1.0).at(100, 100), Momentum(0.9, 1.0).at(5, None)
    (0.9, 1.0, 0.9)
    """

    base: float = 0.996
    final: float | None = 1.0
    course: Literal["cosine", "linear"] = "cosine"

    def __post_init__(self) -> None:
        if self.course not in ("cosine", "linear"):
            raise ConfigError(f"course {self.course!r} is unknown: 'cosine' or 'linear'")
        for name, value in (("base", self.base), ("final", self.final)):
            if value is not None and not 0 <= value <= 1:
                raise ConfigError(f"a teacher's {name} momentum must lie in [0, 1], not {value!r}")

    def at(self, step: int, steps: int | None) -> float:
        """Return m after `step` of `steps` steps; `base` where the length of the run is not known."""
        if self.final is None or not steps:
            return self.base
        done = min(1.0, step / steps)
        if self.course == "linear":
            return self.base + (self.final - self.base) * done
        return self.final - (self.final - self.base) * (math.cos(math.pi * done) + 1) / 2


@torch.no_grad()
def follow(network: nn.Module, student: nn.Module, momentum: float) -> None:
    """Move a network's parameters towards a student's, `theta <- m theta + (1 - m) theta_student`."""
    own, others = ([value.detach() for value in net.parameters()] for net in (network, student))
    torch._foreach_lerp_(own, others, 1 - momentum)


Network = TypeVar("Network", bound=nn.Module)


class Teacher(nn.Module, Generic[Network]):
    """A copy of a network that no gradient reaches and that follows its student.

    The student is not held. Buffers (running statistics) are the teacher's own unless they are shared at `follow`.
    Methods call `follow` in `after_step`, and hand the run's length on from `before_run`.

    Args:
        student: what is copied; several networks stand in an `nn.Sequential` or `nn.ModuleList`.
        momentum: how slowly the teacher follows.
    """

    network: Network

    def __init__(self, student: Network, momentum: Momentum) -> None:
        super().__init__()
        self.network = copy.deepcopy(student).requires_grad_(False)
        self.momentum = momentum
        self._steps: int | None = None

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return what the teacher's network gives, without gradient."""
        with torch.no_grad():
            found: Tensor = self.network(*inputs)
            return found

    def before_run(self, steps: int) -> None:
        """Learn the length of the run that the momentum's course is stretched over."""
        self._steps = steps

    @torch.no_grad()
    def follow(self, student: nn.Module, step: int, *, share_buffers: bool = False) -> float:
        """Move towards a student of the same make, `theta <- m theta + (1 - m) theta_student`; return m.

        Args:
            student: whose parameters are followed.
            step: how many steps are done.
            share_buffers: take the student's buffers over as they are.
        """
        m = self.momentum.at(step, self._steps)
        if m < 1:
            follow(self.network, student, m)
        if share_buffers:
            for mine, theirs in zip(self.network.buffers(), student.buffers(), strict=True):
                mine.copy_(theirs)
        return m
