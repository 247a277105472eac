"""Weights of samples in adversarial training: which of them the loss under attack looks hardest at.

Sizes: B samples, C classes.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, get_args

from torch import Tensor

from withstand.core.errors import ConfigError, nearest
from withstand.core.part import Part
from withstand.losses.robust.reweighting import Curve, margin_weights, probability_margin, survival_weights


@dataclass(frozen=True)
class Weighting(Part):
    """One way to weigh samples.

    Args:
        burn_in: epochs of equal weights before.
    """

    burn_in: int = 0

    counts_steps: ClassVar[bool] = False
    """Whether it reads how many of the attack's steps a sample survived."""

    def __post_init__(self) -> None:
        if self.burn_in < 0:
            raise ConfigError(f"burn_in must be at least 0 epochs, not {self.burn_in!r}")

    @abstractmethod
    def weights(self, attacked: Tensor, y: Tensor, survived: Tensor, steps: int) -> Tensor:
        """Return each sample's weight, `(B,)`, without gradients.

        Args:
            attacked: logits under attack, `(B, C)`.
            y: labels `(B,)`.
            survived: the attack's steps that found the sample classified rightly, `(B,)`; zeros if not counted.
            steps: all of the attack's steps.
        """


@dataclass(frozen=True)
class GAIRAT(Weighting):
    """Geometry-aware weights (Zhang et al., 2021): samples that few steps of the attack bring down weigh most.

    Accuracy under PGD rises, under AutoAttack it falls: small weights let margins shrink, and hide gradients.

    Args:
        shift: lambda; large gives equal weights.
        curve: how weights fall with the steps survived: tanh, sigmoid or discrete (linear).
    """

    shift: float = -1.0
    curve: Curve = "tanh"

    counts_steps: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.curve not in get_args(Curve):
            raise ConfigError(f"curve {self.curve!r} is unknown: {nearest(str(self.curve), get_args(Curve))}")
        if not self.shift > float("-inf"):
            raise ConfigError(f"shift must be a number, or infinite for equal weights, not {self.shift!r}")

    def weights(self, attacked: Tensor, y: Tensor, survived: Tensor, steps: int) -> Tensor:
        return survival_weights(survived, steps, shift=self.shift, curve=self.curve)


@dataclass(frozen=True)
class MAIL(Weighting):
    """Margin-aware weights (Wang et al., 2021): a sigmoid of how far another class's probability is ahead.

    The official code has bias -0.5 and slope 10 beside PGD-AT, 0 and 2 beside TRADES.

    Args:
        bias: added to the margin, which lies in [-1, 1].
        slope: of the sigmoid.
        scale: what the sigmoid is multiplied by, 3 in the official code; None for a mean of 1 over the batch, as in
            the paper.
    """

    bias: float = -0.5
    slope: float = 10.0
    scale: float | None = 3.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.slope >= 0 or not abs(self.bias) < float("inf") or not (self.scale is None or self.scale > 0):
            raise ConfigError(
                "slope must be at least 0, bias finite, and scale above 0 or None, not "
                f"{self.slope!r}, {self.bias!r} and {self.scale!r}"
            )

    def weights(self, attacked: Tensor, y: Tensor, survived: Tensor, steps: int) -> Tensor:
        margin = probability_margin(attacked.detach(), y)
        return margin_weights(margin, bias=self.bias, slope=self.slope, scale=self.scale)
