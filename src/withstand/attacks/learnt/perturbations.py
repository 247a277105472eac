"""Learnt attacks: one perturbation for all inputs, or a network that makes one for each.

What is learnt is in units of inputs in [0, 1], as all runs' networks take them, and is scaled to the victim's range;
where that has no two ends, it is in input units. The attack confines it: inside any ball that it is given, and inside
the range. A smaller ball than that of training clips it, and a larger one does not make it grow.

Sizes: `N` samples.
"""

import math
from abc import abstractmethod
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, Literal, Self, get_args

import torch
from torch import Tensor, nn

from withstand.attacks.attack import InputAttack
from withstand.attacks.problem import Problem
from withstand.core.devices.device import moved
from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.part import Part
from withstand.core.random import Draws, isolated
from withstand.core.roles import Attack
from withstand.core.threat import Ball
from withstand.core.victims.answers import own_dtype
from withstand.core.victims.victim import Victim


@dataclass(frozen=True)
class LearntAttack(InputAttack):
    """Base of attacks whose search is over before they are run."""

    tokens: ClassVar[bool] = True

    @abstractmethod
    def perturbation_for(self, problem: Problem) -> Tensor:
        """Return each sample's perturbation, of inputs in [0, 1], not confined yet: it is broadcast to the samples."""

    def search(self, problem: Problem, start: Tensor | None, draws: Draws) -> Tensor:
        made = self.perturbation_for(problem).to(problem.x)
        return problem.confine(problem.x + unit(problem.victim)[1] * made)

    @classmethod
    @abstractmethod
    def example(cls, shape: tuple[int, ...] = (1, 6, 6)) -> Self:
        """Return a small one, for samples of this shape."""


class Perturbation(Part, nn.Module):
    """One perturbation, as a parameter: a method trains it, a checkpoint holds it.

    Args:
        shape: of one sample.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.values = nn.Parameter(torch.zeros(self.shape))

    @classmethod
    def example(cls) -> Self:
        return cls((1, 6, 6))

    def forward(self, x: Tensor) -> Tensor:
        """Return inputs `(N, ...)` with the perturbation added, not confined."""
        return x + self.values


@dataclass(frozen=True)
class Universal(LearntAttack):
    """One perturbation for all inputs (Moosavi-Dezfooli et al., Universal adversarial perturbations, 2017).

    Args:
        ball: how far an input may be moved: the one of training, or another.
        objective: by which success is judged; the perturbation is what it is.
        perturbation: what was learnt, of inputs in [0, 1].
    """

    _: KW_ONLY
    perturbation: Perturbation

    @classmethod
    def example(cls, shape: tuple[int, ...] = (1, 6, 6)) -> Self:
        learnt = Perturbation(shape)
        with isolated("an example's perturbation"), torch.no_grad():
            learnt.values.uniform_(-0.5, 0.5)
        return cls(perturbation=learnt)

    def perturbation_for(self, problem: Problem) -> Tensor:
        shape = tuple(problem.x.shape[1:])
        if shape != self.perturbation.shape:
            raise DataError(
                f"this perturbation was learnt on samples of shape {self.perturbation.shape}, and these have {shape}"
            )
        return self.perturbation.values.detach().to(problem.x.device)


class Sticker(Part, nn.Module):
    """A patch at one place of every sample: a method trains its `values`, of inputs in [0, 1].

    Args:
        shape: of one sample.
        corner: the patch's first place along each of the last two axes, or of the only one.
        side: its places along each of them.

    Raises:
        ConfigError: a patch that does not fit into the sample.
    """

    mask: Tensor

    def __init__(self, shape: tuple[int, ...], corner: tuple[int, ...], side: int) -> None:
        super().__init__()
        self.shape = tuple(shape)
        across = self.shape[-2:]
        fits = len(corner) == len(across) and all(
            0 <= at <= most - side for at, most in zip(corner, across, strict=True)
        )
        if side < 1 or not fits:
            raise ConfigError(f"a patch of side {side} at {tuple(corner)} does not fit into samples of shape {shape}")
        self.values = nn.Parameter(torch.full(self.shape, 0.5))
        mask = torch.ones(self.shape, dtype=torch.bool)
        for axis, at in enumerate(corner, len(self.shape) - len(corner)):
            inside = torch.zeros(self.shape[axis], dtype=torch.bool)
            inside[at : at + side] = True
            mask &= inside.view(-1, *[1] * (len(self.shape) - axis - 1))
        self.register_buffer("mask", mask)

    @classmethod
    def example(cls) -> Self:
        return cls((1, 6, 6), (1, 2), 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return inputs `(N, ...)` with the patch in their place, not confined."""
        return torch.where(self.mask, self.values, x)


@dataclass(frozen=True)
class Patch(LearntAttack):
    """One patch that takes the place of the same entries of every input (Brown et al., Adversarial patch, 2017).

    A ball of radius 1 in Linf, that of inputs in [0, 1], leaves it whole; a smaller one pulls it towards the input.

    Args:
        ball: how far an input may be moved.
        objective: by which success is judged.
        sticker: what was learnt.
    """

    tokens = False

    _: KW_ONLY
    sticker: Sticker

    @classmethod
    def example(cls, shape: tuple[int, ...] = (1, 6, 6)) -> Self:
        across = shape[-2:]
        learnt = Sticker(shape, (0,) * len(across), max(1, min(across, default=1) // 2))
        with isolated("an example's patch"), torch.no_grad():
            learnt.values.uniform_()
        return cls(Ball("linf", 1.0), sticker=learnt)

    def perturbation_for(self, problem: Problem) -> Tensor:
        shape = tuple(problem.x.shape[1:])
        if shape != self.sticker.shape:
            raise DataError(f"this patch was learnt on samples of shape {self.sticker.shape}, and these have {shape}")
        low, scale = unit(problem.victim)
        mask, values = (value.detach().to(problem.x.device) for value in (self.sticker.mask, self.sticker.values))
        return torch.where(mask, values - (problem.x - low) / scale, 0.0)


class Waves(Part, nn.Module):
    """An untrained generator for samples of any shape: waves of what it reads."""

    def forward(self, x: Tensor) -> Tensor:
        return (20 * x).sin()


@dataclass(frozen=True)
class Generated(LearntAttack):
    """A perturbation for each input, made by a network in one pass (Poursaeed et al., Generative adversarial
    perturbations, 2018).

    Args:
        ball: how far an input may be moved: the one of training, or another.
        objective: by which success is judged; the network has learnt what it has learnt.
        network: from what it reads, `(N, ...)`, to perturbations of inputs in [0, 1], shaped like the samples.
        reads: the clean "inputs", scaled to [0, 1]; or the wanted "targets" that a targeted attack is given as `y`,
            say embeddings.

    Raises:
        ConfigError: targets without a targeted ball.
    """

    _: KW_ONLY
    network: nn.Module
    reads: Literal["inputs", "targets"] = "inputs"

    def __post_init__(self) -> None:
        if self.reads not in get_args(Generated.__annotations__["reads"]):
            raise ConfigError(f"reads {self.reads!r} is unknown: {nearest(str(self.reads), ('inputs', 'targets'))}")
        if self.reads == "targets" and not self.ball.targeted:
            raise ConfigError("a generator that reads targets needs a targeted ball: Ball(targeted=True)")

    @classmethod
    def example(cls, shape: tuple[int, ...] = (1, 6, 6)) -> Self:
        return cls(network=Waves())

    def perturbation_for(self, problem: Problem) -> Tensor:
        given = problem.y
        if self.reads == "inputs":
            low, scale = unit(problem.victim)
            given = (problem.x - low) / scale
        dtype = own_dtype(self.network)
        given = given if dtype is None or not given.is_floating_point() else given.to(dtype)
        network = Victim(self.network)
        with moved(problem.x.device, self.network), network.held(), torch.no_grad():
            made = network.output(given.clone(), "perturbation")
        if made.shape != problem.x.shape:
            raise DataError(
                f"this generator makes perturbations of shape {tuple(made.shape[1:])}, and the samples have "
                f"{tuple(problem.x.shape[1:])}"
            )
        if not bool(torch.isfinite(made).all()):
            raise DataError("this generator makes perturbations that are not finite")
        return made


def networks_of(attack: Attack) -> nn.ModuleDict:
    """Return the networks that an attack has learnt, by the names of its arguments: their tensors are all its state.

    Raises:
        ConfigError: it has learnt none.
    """
    found = {name: value for name, value in attack._init_args.items() if isinstance(value, nn.Module)}
    if not found:
        raise ConfigError(f"{type(attack).__name__} has learnt nothing that could be kept: its settings are all it is")
    return nn.ModuleDict(found)


def unit(victim: Victim) -> tuple[float, float]:
    """Return where a victim's input range begins, and how long it is; 0 and 1 where it has no two ends."""
    return (0.0, 1.0) if math.isinf(victim.span) else (victim.low, victim.span)
