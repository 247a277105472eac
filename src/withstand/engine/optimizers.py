"""Optimizers as parts: settings that make a torch optimizer for a method's parameters.

Biases and normalization scales (parameters with one axis) get no weight decay and, under LARS, no
layer-wise adaptation: what every self-supervised recipe here does.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, overload

import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError, nearest
from withstand.core.part import Part


class Optimizer(Part):
    """Settings of an optimizer."""

    learning_rate: float
    weight_decay: float

    @abstractmethod
    def make(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Return the optimizer for these parameters, each group's base rate at `initial_lr`."""

    def _groups(self, parameters: Iterable[nn.Parameter]) -> list[dict[str, Any]]:
        if self.learning_rate <= 0 or self.weight_decay < 0:
            raise ConfigError(f"learning_rate must be above 0 and weight_decay at least 0: {self}")
        listed = list(parameters)
        matrices = [parameter for parameter in listed if parameter.dim() > 1]
        vectors = [parameter for parameter in listed if parameter.dim() <= 1]
        base = {"lr": self.learning_rate, "initial_lr": self.learning_rate}
        groups = [
            {"params": matrices, "weight_decay": self.weight_decay, "adapt": True, **base},
            {"params": vectors, "weight_decay": 0.0, "adapt": False, **base},
        ]
        return [group for group in groups if group["params"]]


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent with momentum."""

    learning_rate: float
    weight_decay: float = 1e-4
    momentum: float = 0.9
    nesterov: bool = False

    def make(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.SGD(
            self._groups(parameters), lr=self.learning_rate, momentum=self.momentum, nesterov=self.nesterov
        )


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam whose weight decay is part of the gradient, on every parameter, biases too: torch's own."""

    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)

    def make(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        groups = self._groups(parameters)
        for group in groups:
            group["weight_decay"] = self.weight_decay
        return torch.optim.Adam(groups, lr=self.learning_rate, betas=self.betas, fused=True)


@dataclass(frozen=True)
class AdamW(Optimizer):
    """Adam with decoupled weight decay."""

    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    betas: tuple[float, float] = (0.9, 0.999)

    def make(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self._groups(parameters), lr=self.learning_rate, betas=self.betas, fused=True)


@dataclass(frozen=True)
class LARS(Optimizer):
    """Layer-wise adaptive rate scaling (You, Gitman, Ginsburg 2017); by default as Barlow Twins' code has it.

    `LARS(rate, trust=0.02, clip=True, ratio="separate")` is solo-learn's.

    Args:
        trust: eta, the trust coefficient (Barlow Twins 0.001, solo-learn's CIFAR recipes 0.02).
        clip: let adaptation only ever lower the rate, as solo-learn does (min(q / lr, 1)).
        ratio: what a weight's norm is divided by: "decayed", the norm of the gradient with weight decay added,
            ||g + w p|| (Barlow Twins), or "separate", the sum of both norms, ||g|| + w ||p|| (solo-learn, the paper).
        vector_rate: base rate of one-axis parameters, when it differs (Barlow Twins: 0.0048 against 0.2).
    """

    learning_rate: float
    weight_decay: float = 1e-6
    momentum: float = 0.9
    trust: float = 0.001
    clip: bool = False
    vector_rate: float | None = None
    ratio: Literal["decayed", "separate"] = "decayed"

    def make(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        if self.ratio not in ("decayed", "separate"):
            raise ConfigError(f"ratio {self.ratio!r} is unknown: {nearest(self.ratio, ('decayed', 'separate'))}")
        groups = self._groups(parameters)
        for group in groups:
            if self.vector_rate is not None and not group["adapt"]:
                group["lr"] = group["initial_lr"] = self.vector_rate
        return LARSOptimizer(groups, self.momentum, self.trust, self.clip, self.ratio == "separate")


class LARSOptimizer(torch.optim.Optimizer):
    """The update of `LARS`.

    For an adapted parameter p with gradient g: d = g + w p, q = trust ||p|| / n (1 when either is 0),
    m <- momentum m + q d, p <- p - lr m. n is ||d||, or with `separate` ||g|| + w ||p||. Groups without
    `adapt` use q = 1.
    """

    def __init__(
        self, groups: list[dict[str, Any]], momentum: float, trust: float, clip: bool, separate: bool = False
    ) -> None:
        super().__init__(groups, {"momentum": momentum, "trust": trust, "clip": clip, "separate": separate})

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)
        return loss

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        direction = gradient.add(parameter, alpha=group["weight_decay"])
        if group["adapt"]:
            size, length = parameter.norm(), direction.norm()
            if group["separate"]:
                steep = gradient.norm()  # where it is 0 nothing is learnt, and decay is no reason to adapt
                length = torch.where(steep > 0, steep + group["weight_decay"] * size, 0.0)
            trust = group["trust"] * size / length
            if group["clip"]:
                trust = (trust / group["lr"]).clamp_max(1.0)
            direction = direction.mul_(torch.where((size > 0) & (length > 0), trust, 1.0))
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].mul_(group["momentum"]).add_(direction)
        parameter.add_(state["momentum"], alpha=-group["lr"])
