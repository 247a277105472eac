"""DONE: adversarial training against the worst weighting of the samples too, with gradients through the attack.

paper: Doubly Robust Instance-Reweighted Adversarial Training (2024)
needs: labels, one view     modalities: any with an encoder and inputs in [0, 1]
sizes: B samples, u the mean of exp(l / r), kept as a moving average
differences: there is no official code. The inner problem is solved by going, a share of the way at each step, to the
    closed-form minimiser of the barrier and the linearised loss: its fixed points are the barrier problem's
    stationary points, as the implicit gradient needs, and there is no step size to tune. The loss's own curvature
    is left out of the implicit gradient, as in the paper. The attack, and the implicit term, see batch
    normalisations in eval mode.
"""

import math
from typing import Self

import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError
from withstand.core.roles import Model, Terms
from withstand.core.victims.victim import Victim
from withstand.losses.robust.comp_sum import comp_sum
from withstand.losses.robust.reweighting import barrier_curvature, barrier_minimizer, log_mean_exponential
from withstand.methods.shared.labelled import LabelledMethod, accuracy
from withstand.models.pictures.normalized import Normalized


class DoublyRobustTraining(LabelledMethod):
    """A classifier trained on the worst inputs, weighted in the worst way near uniform.

    Args:
        encoder: the network to train.
        classes: how many labels there are.
        eps: radius of the Linf ball, in input units.
        steps: of the inner solver.
        damping: share of the way to the linearised problem's minimiser at each of them.
        temperature: r; small gives hard samples all the weight and slows early training, large gives plain
            adversarial training.
        barrier: c of the log-barrier, in units of loss; gradients (times eps) well above it push to the ball's faces.
        implicit: let gradients flow through the attack; without, this is plain reweighting.
        momentum: eta, the share of a new batch in the moving average; 1 gives each batch's own softmax weights.
        warmup: epochs of uniform weights before.
    """

    log_normalizer: Tensor

    def __init__(
        self,
        encoder: Model,
        *,
        classes: int,
        eps: float = 8 / 255,
        steps: int = 10,
        damping: float = 0.5,
        temperature: float = 1.0,
        barrier: float = 1e-4,
        implicit: bool = True,
        momentum: float = 0.1,
        warmup: int = 0,
    ) -> None:
        super().__init__(encoder, classes)
        if min(eps, temperature, barrier) <= 0 or not 0 < momentum <= 1 or not 0 < damping <= 1:
            raise ConfigError(
                "eps, temperature and barrier must be above 0, momentum and damping in (0, 1], not "
                f"{eps!r}, {temperature!r}, {barrier!r}, {momentum!r} and {damping!r}"
            )
        if steps < 1 or warmup < 0:
            raise ConfigError(f"steps must be at least 1 and warmup at least 0, not {steps!r} and {warmup!r}")
        self.eps, self.steps_inside, self.damping, self.barrier = eps, steps, damping, barrier
        self.temperature, self.momentum, self.implicit, self.warmup = temperature, momentum, implicit, warmup
        self.register_buffer("log_normalizer", torch.full((), torch.nan, dtype=torch.float64))

    @classmethod
    def example(cls) -> Self:
        return cls(Normalized.example(), classes=4)

    def step(self, batch: Batch) -> Terms:
        """Return the loss: its value is r log u, its gradient the hypergradient of the worst-case problem.

        `effective_samples` is 1 / (B sum w^2) of the batch's softmax weights: 1 when uniform.
        """
        x, y = self.samples(batch), self.labels(batch)
        low, high = (-x).clamp(min=-self.eps), (1 - x).clamp(max=self.eps)
        delta = self.solve(batch)
        logits = self.logits(x + delta)
        losses = comp_sum(logits, y)
        reweighted = batch.epoch >= self.warmup
        log_u, weights = self._weights(losses.detach(), reweighted)
        surrogate = (weights * losses).mean()
        if self.implicit:
            surrogate = surrogate + self._through_the_attack(x, delta, y, low, high, weights)
        value = log_u * self.temperature if reweighted else losses.detach().mean()
        shares = (losses.detach() / self.temperature).softmax(0)
        return {
            "loss": value.to(surrogate.dtype) + surrogate - surrogate.detach(),
            "robust_accuracy": accuracy(logits, y),
            "effective_samples": 1 / (len(y) * shares.square().sum()),
        }

    def solve(self, batch: Batch) -> Tensor:
        """Return perturbations strictly inside ball and range that solve the barrier problem, shaped like a view."""
        x, y = Victim(self).check(self.samples(batch)), self.labels(batch)
        low, high = (-x).clamp(min=-self.eps), (1 - x).clamp(max=self.eps)
        spread = batch.draws("inner attack").uniform(*x.shape[1:], low=0.25, high=0.75).to(x.dtype)
        delta = low + (high - low) * spread
        with Victim(self).held():
            for _ in range(self.steps_inside):
                slope = -self._slope(x + delta, y)[0]
                delta = delta + self.damping * (barrier_minimizer(slope, low, high, self.barrier) - delta)
        return delta

    def _slope(self, moved: Tensor, y: Tensor, *, differentiable: bool = False) -> tuple[Tensor, Tensor]:
        """Return the gradient of each sample's cross-entropy in its input, and that input."""
        moved = moved.detach().requires_grad_(True)
        losses = comp_sum(self.logits(moved), y)
        # Not finite where training has diverged: then the loss is not either, and the engine says so.
        return torch.autograd.grad(losses.sum(), moved, create_graph=differentiable)[0], moved

    def _through_the_attack(
        self, x: Tensor, delta: Tensor, y: Tensor, low: Tensor, high: Tensor, weights: Tensor
    ) -> Tensor:
        """Return what has the implicit part of the hypergradient as its gradient."""
        modes = {child: child.training for child in self.modules()}
        try:
            slope, _ = self._slope_in_eval_mode(x + delta, y)
        finally:
            for child, mode in modes.items():
                child.training = mode
        answer = slope.detach() / barrier_curvature(delta, low, high, self.barrier)
        return (weights * (answer * slope).flatten(1).sum(1)).mean()

    def _slope_in_eval_mode(self, moved: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return self.eval()._slope(moved, y, differentiable=True)

    def _weights(self, losses: Tensor, reweighted: bool) -> tuple[Tensor, Tensor]:
        """Return log u, moved along in training, and each sample's weight exp(l / r) / u, `(B,)`."""
        if not reweighted:
            return self.log_normalizer, torch.ones_like(losses)
        here = log_mean_exponential(losses.double(), self.temperature)
        log_u = here
        if not bool(self.log_normalizer.isnan()) and self.momentum < 1:
            old = self.log_normalizer + math.log1p(-self.momentum)
            log_u = torch.logaddexp(old, here + math.log(self.momentum))
        if self.training:
            self.log_normalizer.copy_(log_u)
        return log_u, (losses.double() / self.temperature - log_u).exp().to(losses)
