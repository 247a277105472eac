"""Strategies of adversarial training: what its attack raises, and what the model descends on.

Sizes: B samples, C classes.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from withstand.attacks.objectives import Objective, pick
from withstand.core.errors import ConfigError, DataError
from withstand.core.part import Part
from withstand.core.victims.victim import Outputs
from withstand.losses.robust.adversarial import boosted_cross_entropy, divergence, mart, trades
from withstand.losses.robust.comp_sum import comp_sum, difference_shift, smooth_adversarial


@dataclass(frozen=True)
class Divergence(Objective):
    """KL(p(y) || p(outputs)), where `y` holds the clean logits, `(N, C)`; needs no labels.

    Its gradient is zero on the clean input, so an attack on it needs a random start.
    """

    output: str = "logits"

    flat_at_clean: ClassVar[bool] = True

    def __call__(self, outputs: Outputs, y: Tensor, x: Tensor) -> Tensor:
        return divergence(y, pick(outputs, self.output))

    def reference(self, outputs: Outputs) -> Tensor:
        return pick(outputs, self.output).detach()

    def reached(self, outputs: Outputs, y: Tensor, *, targeted: bool) -> Tensor:
        same = pick(outputs, self.output).argmax(1) == y.argmax(1)
        return same if targeted else ~same

    def check(self, outputs: Outputs, y: Tensor) -> None:
        shape = pick(outputs, self.output).shape
        if y.shape != shape or not y.is_floating_point():
            raise DataError(f"y must be clean logits of shape {tuple(shape)}, not {y.dtype} {tuple(y.shape)}")


@dataclass(frozen=True)
class DifferenceShift(Objective):
    """How far the score differences to the label move; `y` is `(N, 2, C)`, clean logits and one-hot labels."""

    output: str = "logits"

    flat_at_clean: ClassVar[bool] = True

    def __call__(self, outputs: Outputs, y: Tensor, x: Tensor) -> Tensor:
        return difference_shift(y[:, 0], pick(outputs, self.output), y[:, 1].argmax(1))

    def reference(self, outputs: Outputs) -> Tensor:
        clean = pick(outputs, self.output).detach()
        return with_labels(clean, clean.argmax(1))

    def reached(self, outputs: Outputs, y: Tensor, *, targeted: bool) -> Tensor:
        hit = pick(outputs, self.output).argmax(1) == y[:, 1].argmax(1)
        return hit if targeted else ~hit

    def check(self, outputs: Outputs, y: Tensor) -> None:
        rows, classes = pick(outputs, self.output).shape
        if y.shape != (rows, 2, classes):
            raise DataError(f"y must be clean logits and one-hot labels ({rows}, 2, {classes}), not {tuple(y.shape)}")


def with_labels(clean: Tensor, y: Tensor) -> Tensor:
    """Return clean logits and one-hot labels, `(N, 2, C)`, for `DifferenceShift`."""
    return torch.stack([clean, F.one_hot(y, clean.shape[1]).to(clean)], 1)


class Strategy(Part):
    """One kind of adversarial training."""

    needs_clean: ClassVar[bool] = True
    """Whether the loss reads the clean samples' logits."""

    @abstractmethod
    def losses(self, clean: Tensor, attacked: Tensor, y: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return each sample's loss `(B,)`.

        Args:
            clean: logits `(B, C)`; `attacked` where they are not needed.
            attacked: logits `(B, C)` under attack.
            y: labels `(B,)`.
            weights: of the samples, `(B,)`, on what the attack costs alone; None for 1.
        """

    def objective(self) -> Objective | None:
        """Return what the attack raises; None for the attack's own objective, on the labels."""
        return None

    def goal(self, clean: Tensor, y: Tensor) -> Tensor:
        """Return what the objective is handed as `y`, from clean logits as the attack sees them."""
        return y


@dataclass(frozen=True)
class Plain(Strategy):
    """PGD-AT (Madry et al., 2018): the cross-entropy under attack."""

    needs_clean: ClassVar[bool] = False

    def losses(self, clean: Tensor, attacked: Tensor, y: Tensor, weights: Tensor | None = None) -> Tensor:
        return _weighed(comp_sum(attacked, y), weights)  # at tau = 1


@dataclass(frozen=True)
class Trades(Strategy):
    """TRADES (Zhang et al., 2019): cross-entropy on clean samples, and a bound on what an attack changes.

    Args:
        beta: weight of the second; higher is more robust and less accurate.
    """

    beta: float = 6.0

    def __post_init__(self) -> None:
        _at_least_zero("beta", self.beta)

    def losses(self, clean: Tensor, attacked: Tensor, y: Tensor, weights: Tensor | None = None) -> Tensor:
        if weights is None:
            return trades(clean, attacked, y, self.beta)
        return comp_sum(clean, y) + self.beta * weights * divergence(clean, attacked)

    def objective(self) -> Objective:
        return Divergence()

    def goal(self, clean: Tensor, y: Tensor) -> Tensor:
        return clean


@dataclass(frozen=True)
class Mart(Strategy):
    """MART (Wang et al., 2020): a boosted cross-entropy under attack, and TRADES' term weighed up on clean errors.

    Args:
        beta: weight of the second.
    """

    beta: float = 5.0

    def __post_init__(self) -> None:
        _at_least_zero("beta", self.beta)

    def losses(self, clean: Tensor, attacked: Tensor, y: Tensor, weights: Tensor | None = None) -> Tensor:
        if weights is None:
            return mart(clean, attacked, y, self.beta)
        # As in MAIL's code: the weights are on the boosted cross-entropy alone.
        return mart(clean, attacked, y, self.beta) + (weights - 1) * boosted_cross_entropy(attacked, y)


@dataclass(frozen=True)
class SmoothCompSum(Strategy):
    """ADV-COMP-SUM (Mao, Mohri, Zhong, 2023): a comp-sum loss on clean samples, and how far an attack moves margins.

    Args:
        tau: of the comp-sum loss.
        rho: margin; below 1 it buys clean accuracy.
        nu: weight of the movement. Theory wants sqrt(C - 1) / rho; from about 1 on small nets collapse to one class
            unless it comes in slowly (`warmup`).
    """

    tau: float = 1.0
    rho: float = 1.0
    nu: float = 0.3

    def __post_init__(self) -> None:
        _at_least_zero("tau", self.tau)
        _at_least_zero("nu", self.nu)
        if not 0 < self.rho < float("inf"):
            raise ConfigError(f"rho must be above 0 and finite, not {self.rho!r}")

    def losses(self, clean: Tensor, attacked: Tensor, y: Tensor, weights: Tensor | None = None) -> Tensor:
        losses = smooth_adversarial(clean, attacked, y, tau=self.tau, rho=self.rho, nu=self.nu)
        if weights is None:
            return losses
        return losses + (weights - 1) * self.nu * difference_shift(clean, attacked, y)

    def objective(self) -> Objective:
        return DifferenceShift()

    def goal(self, clean: Tensor, y: Tensor) -> Tensor:
        return with_labels(clean, y)


def _weighed(losses: Tensor, weights: Tensor | None) -> Tensor:
    return losses if weights is None else losses * weights


def _at_least_zero(name: str, value: float) -> None:
    if not 0 <= value < float("inf"):
        raise ConfigError(f"{name} must be at least 0 and finite, not {value!r}")
