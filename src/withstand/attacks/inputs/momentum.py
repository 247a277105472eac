"""Iterated signs with momentum: BIM (Kurakin et al., 2017), MI-FGSM (Dong et al., 2018), and its DI and TI variants.

Diverse inputs (Xie et al., 2019) and smoothed gradients (Dong et al., 2019) make what is found on one
model carry over to others.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from withstand.attacks.attack import InputAttack
from withstand.attacks.inputs.gradient import PGD, from_clean
from withstand.attacks.objectives import AttackLoss, CrossEntropy, Objective
from withstand.attacks.problem import Problem
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import Draws
from withstand.core.threat import Ball, as_rows
from withstand.core.victims.victim import Outputs, Victim

_DEFAULT = Ball()


def bim(ball: Ball = _DEFAULT, objective: Objective | AttackLoss = CrossEntropy(), *, steps: int = 10) -> PGD:  # noqa: B008
    """Return the basic iterative method: PGD from the clean input that returns its last point."""
    return PGD(ball, objective, steps=steps, step_size=2 / steps, random_start=False, keep_best=False)


@dataclass(frozen=True)
class MIFGSM(InputAttack):
    """Steps along the sign (Linf) or direction (L2) of a running sum of gradients, each of L1 norm 1.

    The last point is returned, as in the paper: the point that is worst for this victim need not be the
    worst for the one it is carried to.

    Args:
        ball: Linf or L2.
        objective: as for every attack.
        steps: gradient steps.
        step_size: a step's length as a share of eps; None for 1 / steps (the paper's).
        decay: what is kept of the sum at each step (mu of the paper); 0 gives BIM.
        diversity: the chance that the victim meets a picture shrunk and shifted (DI; 0.5 in the paper).
        shrink: the smallest side of a shrunk picture, as a share.
        smoothing: the standard deviation in pixels of the Gaussian that gradients are smoothed with, cut
            off at 2 1/3 of it (TI; 3.0 there, 15 x 15 entries); 0 for none.
    """

    steps: int = 10
    step_size: float | None = None
    decay: float = 1.0
    diversity: float = 0.0
    shrink: float = 0.9
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        if self.ball.norm == "l1":
            raise ConfigError("MI-FGSM takes norm 'linf' or 'l2'")
        if self.steps < 1 or (self.step_size is not None and self.steps * self.step_size < 1):
            raise ConfigError(
                f"{self.steps} steps of {self.step_size} eps cannot cross the ball: step_size is a share of eps"
            )
        if self.decay < 0 or self.smoothing < 0:
            raise ConfigError(f"decay and smoothing must be at least 0, not {self.decay} and {self.smoothing}")
        if not 0 <= self.diversity <= 1 or not 0 < self.shrink <= 1:
            raise ConfigError(
                f"diversity is a chance and shrink a share above 0, both up to 1, not {self.diversity}, {self.shrink}"
            )

    def search(self, problem: Problem, start: Tensor | None, draws: Draws) -> Tensor:
        if (self.diversity or self.smoothing) and problem.x.dim() != 4:
            raise DataError(
                f"diversity and smoothing are for pictures (N, C, H, W), not {tuple(problem.x.shape)}: set them to 0"
            )
        x = from_clean(problem) if start is None else start
        length = self.ball.eps * (self.step_size or 1 / self.steps)
        total = torch.zeros_like(x)
        for step in range(self.steps):
            posed = replace(problem, victim=self._diverse(problem.victim, draws.child(step)))
            slope = posed.gradient(x)[2]
            if self.smoothing:
                slope = smooth(slope, self.smoothing)
            size = as_rows(slope).abs().sum(1)
            # A gradient of zeros has no direction: the sum alone leads on.
            unit = slope / size.clamp_min(torch.finfo(slope.dtype).tiny).view(-1, *[1] * (x.dim() - 1))
            total = self.decay * total + unit
            x = problem.step(x, total, length)
        return x

    def _diverse(self, victim: Victim, draws: Draws) -> Victim:
        """Return the victim behind this step's shrinking and shifting."""
        if not self.diversity:
            return victim

        def model(x: Tensor) -> Outputs:
            return victim(diversify(x - victim.low, draws, self.diversity, self.shrink) + victim.low)

        return Victim(model, low=victim.low, high=victim.high)


def diversify(x: Tensor, draws: Draws, chance: float, shrink: float) -> Tensor:
    """Return pictures `(N, C, H, W)`, some of them shrunk bilinearly and put anywhere on a frame of zeros.

    Args:
        x: pictures.
        draws: each sample's own stream.
        chance: of a picture to be shrunk.
        shrink: the smallest share of a side that is left; shares are uniform from it to 1.
    """
    chosen = draws.chance(chance, 1)
    scale = torch.where(chosen, draws.uniform(1, low=shrink), 1.0)
    places = draws.uniform(2)
    tall, wide = (_shrinking(side, scale, places[:, i : i + 1]).to(x) for i, side in enumerate(x.shape[2:]))
    return tall[:, None] @ x @ wide[:, None].mT


def _shrinking(side: int, scale: Tensor, place: Tensor) -> Tensor:
    """Return matrices `(N, side, side)` that interpolate a line to `scale` of its length, put at `place`."""
    short = (scale * side).round().clamp_min(1)
    first = (place * (side - short + 1)).floor()
    target = torch.arange(side, device=scale.device)
    source = ((target - first + 0.5) * (side / short) - 0.5).clamp(0, side - 1)
    weights = (1 - (source[:, :, None] - target).abs()).clamp_min(0)
    return weights * ((target >= first) & (target < first + short))[:, :, None]


def smooth(slope: Tensor, sigma: float) -> Tensor:
    """Return gradients `(N, C, H, W)` smoothed by a Gaussian of `sigma` pixels, channel by channel."""
    reach = round(sigma * 7 / 3)
    line = torch.exp(-((torch.arange(-reach, reach + 1, dtype=slope.dtype, device=slope.device) / sigma) ** 2) / 2)
    line = line / line.sum()
    flat = slope.flatten(0, 1)[:, None]
    flat = F.conv2d(flat, line.view(1, 1, -1, 1), padding=(reach, 0))
    return F.conv2d(flat, line.view(1, 1, 1, -1), padding=(0, reach)).view(slope.shape)
