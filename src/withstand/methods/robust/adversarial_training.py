"""Adversarial training: the classifier learns from the worst inputs that an attack finds round each sample.

paper: Towards Deep Learning Models Resistant to Adversarial Attacks (2018); and, by strategy, TRADES (2019),
    MART (2020), ADV-COMP-SUM (2023); by weighting, GAIRAT (2021), MAIL (2021); Fast is better than free (2020);
    Adversarial Weight Perturbation (2020)
needs: labels, one view     modalities: any with an encoder and inputs in [0, 1]
sizes: B samples, C classes
differences: AWP's proxy network is not copied: its one ascent step is along the gradient at the weights themselves,
    and only the step's direction counts. Fast-AT's official code stops when the accuracy of its guard falls; here
    training goes on with the guard's attack until that accuracy is back.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Self

import torch
from torch import Tensor

from withstand.attacks.attack import InputAttack
from withstand.attacks.inputs.gradient import PGD
from withstand.core.batch import Batch
from withstand.core.devices.distributed import rank, total, world_size
from withstand.core.errors import ConfigError
from withstand.core.roles import Model, Terms, Trainer
from withstand.methods.shared.adversarial_training.attack_in_training import attack_in_training
from withstand.methods.shared.adversarial_training.strategies import Plain, Strategy
from withstand.methods.shared.adversarial_training.weightings import Weighting
from withstand.methods.shared.labelled import ATTACKED, LabelledMethod, accuracy
from withstand.models.pictures.normalized import Normalized

ATTACK = PGD(steps=10, step_size=0.25, keep_best=False)
"""Madry's: ten steps of eps/4 from a uniform start, the last point."""

_PLAIN = Plain()
SURVIVED = "survived"
"""The name in `Batch.extras` of how many of the attack's steps each sample survived."""

_FALL = 0.2
"""A fall of the guard's accuracy that counts as catastrophic overfitting, as in the official code."""


class AdversarialTraining(LabelledMethod):
    """A classifier trained against an attack.

    Args:
        encoder: the network to train.
        classes: how many labels there are.
        strategy: what is descended on, and what the attack raises.
        weighting: which samples weigh most; None for all alike.
        attack: the inner attack. A strategy with an objective of its own (TRADES) puts it in place of the attack's.
        train_mode: attack the model with batch statistics and dropout as in training (fast-AT, and most PGD-AT code);
            else in eval mode (TRADES, MART).
        start_noise: begin the attack at normal noise of this size (TRADES and MART: 0.001) and not at its own start.
        warmup: epochs over which the radius grows linearly to its full size.
        weight_perturbation: AWP's gamma: each weight matrix is moved by this share of its norm against the loss while
            gradients are taken (0.005 to 0.01); 0 for none.
        guard: a stronger attack that watches for catastrophic overfitting, needed by one-step attacks. When the
            accuracy under it falls by 0.2 from its best, training goes on with it until that accuracy is back.
        guard_every: steps between its looks, at one batch each.
    """

    guard_best: Tensor
    guard_accuracy: Tensor

    def __init__(
        self,
        encoder: Model,
        *,
        classes: int,
        strategy: Strategy = _PLAIN,
        weighting: Weighting | None = None,
        attack: InputAttack = ATTACK,
        train_mode: bool = False,
        start_noise: float | None = None,
        warmup: int = 0,
        weight_perturbation: float = 0.0,
        guard: InputAttack | None = None,
        guard_every: int = 100,
    ) -> None:
        super().__init__(encoder, classes)
        if not 0 <= weight_perturbation < 1 or warmup < 0 or guard_every < 1:
            raise ConfigError(
                f"weight_perturbation must lie in [0, 1), warmup be at least 0 and guard_every at least 1, not "
                f"{weight_perturbation!r}, {warmup!r} and {guard_every!r}"
            )
        if start_noise is not None and not 0 <= start_noise < float("inf"):
            raise ConfigError(f"start_noise must be at least 0 and finite, or None, not {start_noise!r}")
        if attack.ball.targeted or (guard is not None and guard.ball.targeted):
            raise ConfigError("the inner attack must not be targeted: it makes the true label unlikely")
        countable = isinstance(attack, PGD) and not attack.keep_best and guard is None
        if weighting is not None and weighting.counts_steps and not countable:
            raise ConfigError(
                f"weighting {type(weighting).__name__} counts the steps that samples survive: it needs "
                "attack=PGD(keep_best=False) and no guard"
            )
        self.strategy, self.weighting, self.attack, self.train_mode = strategy, weighting, attack, train_mode
        self.start_noise, self.warmup, self.weight_perturbation = start_noise, warmup, weight_perturbation
        self.guard, self.guard_every = guard, guard_every
        if guard is not None:
            self.register_buffer("guard_best", torch.zeros(()))
            self.register_buffer("guard_accuracy", torch.ones(()))

    @classmethod
    def example(cls) -> Self:
        return cls(Normalized.example(), classes=4)

    def step(self, batch: Batch) -> Terms:
        """Return the loss and the accuracy under attack (`robust_accuracy`), and what the strategy reads besides."""
        x, y = self.samples(batch), self.labels(batch)
        if ATTACKED not in batch.extras or (self._counts() and SURVIVED not in batch.extras):
            batch = self._with_attacked(batch)
        worse = batch.extras[ATTACKED]
        # Clean and attacked samples in passes of their own, each with its own batch statistics, as official code does.
        clean = self.logits(x) if self.strategy.needs_clean else None
        under = self.logits(worse)
        weights = self.weights(under, y, batch.extras.get(SURVIVED, torch.zeros_like(y)), batch.epoch)
        losses = self.strategy.losses(under if clean is None else clean, under, y, weights)
        terms = {"loss": losses.mean(), "robust_accuracy": accuracy(under, y)}
        if weights is not None:
            terms["effective_samples"] = weights.sum().square() / (len(y) * weights.square().sum())
        if clean is not None:
            terms["accuracy"] = accuracy(clean, y)
        if self.guard is not None:
            terms["guard_accuracy"] = self.guard_accuracy.clone()
        return terms

    def update(self, batch: Batch, trainer: Trainer) -> Terms:
        """Watch, attack, move the weights against the loss, and descend from there."""
        if self.guard is not None and batch.step and batch.step % self.guard_every == 0:
            self._watch(batch)
        if not self.weight_perturbation:
            return super().update(batch, trainer)
        batch = self._with_attacked(batch)
        with self.perturbed(batch):
            return super().update(batch, trainer)

    def attacked(self, batch: Batch) -> Tensor:
        """Return the batch's samples under the inner attack, `(B, ...)`."""
        return self._with_attacked(batch).extras[ATTACKED]

    def weights(self, attacked: Tensor, y: Tensor, survived: Tensor, epoch: int) -> Tensor | None:
        """Return each sample's weight in an epoch, `(B,)`; None for 1."""
        if self.weighting is None or epoch < self.weighting.burn_in:
            return None
        return self.weighting.weights(attacked.detach(), y, survived, getattr(self.attack, "steps", 1))

    def _with_attacked(self, batch: Batch) -> Batch:
        """Return the batch with its samples under the inner attack, and the steps that they survived, in `extras`."""
        y, strategy = self.labels(batch), self.strategy
        survived = torch.zeros(len(batch), device=y.device)

        def count(logits: Tensor) -> None:
            survived.add_(logits.argmax(1) == y)

        attack = self.guard if self.guard is not None and self.overfitted else self.attack
        objective = strategy.objective()
        worse = attack_in_training(
            self,
            self.network(),
            attack.at(attack.ball.eps * self.share(batch.epoch)),
            self.samples(batch),
            y if objective is None else lambda clean: strategy.goal(clean, y),
            batch.draws("inner attack"),
            objective=objective,
            train_mode=self.train_mode,
            start_noise=self.start_noise,
            watch=count if self._counts() else None,
        )
        return replace(batch, extras={**batch.extras, ATTACKED: worse, SURVIVED: survived})

    def share(self, epoch: int) -> float:
        """Return the share of the full radius that an epoch attacks with."""
        return min(1.0, (epoch + 1) / self.warmup) if self.warmup else 1.0

    @property
    def overfitted(self) -> bool:
        """Whether the guard's accuracy has fallen, and is not back yet."""
        return self.guard is not None and bool(self.guard_accuracy <= self.guard_best - _FALL)

    @contextmanager
    def perturbed(self, batch: Batch) -> Iterator[None]:
        """Move each weight matrix by its share against the batch's loss, and back afterwards."""
        named = self.named_parameters()
        matrices: list[Tensor] = [p for name, p in named if p.requires_grad and p.dim() > 1 and "weight" in name]
        kept = [buffer.clone() for buffer in self.buffers()]
        gradients = torch.autograd.grad(self.step(batch)["loss"], matrices, materialize_grads=True)
        with torch.no_grad():
            for buffer, value in zip(self.buffers(), kept, strict=True):
                buffer.copy_(value)
            moves = [_along(p, total(g) / world_size()) for p, g in zip(matrices, gradients, strict=True)]
            torch._foreach_add_(matrices, moves, alpha=self.weight_perturbation)
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_sub_(matrices, moves, alpha=self.weight_perturbation)

    def _counts(self) -> bool:
        return self.weighting is not None and self.weighting.counts_steps

    def _watch(self, batch: Batch) -> None:
        """Look at the guard's accuracy on a batch, over all processes, and tell when it has fallen."""
        assert self.guard is not None
        before, modes = self.overfitted, {child: child.training for child in self.modules()}
        y, guard = self.labels(batch), self.guard.at(self.guard.ball.eps * self.share(batch.epoch))
        draws = batch.draws("inner attack").child("guard")
        worse = attack_in_training(self, self.network(), guard, self.samples(batch), y, draws)
        try:
            with torch.no_grad():
                found = total(accuracy(self.eval().logits(worse), y)) / world_size()
        finally:
            for child, mode in modes.items():
                child.training = mode
        self.guard_accuracy.copy_(found)
        self.guard_best.copy_(torch.maximum(self.guard_best, found))
        if self.overfitted and not before and rank() == 0:
            warnings.warn(
                f"catastrophic overfitting: accuracy under the guard's attack fell from {self.guard_best:.0%} to "
                f"{self.guard_accuracy:.0%}; training goes on with that attack until it is back. A smaller step, a "
                "lower learning rate or a smaller radius avoids it",
                stacklevel=2,
            )


def _along(weight: Tensor, gradient: Tensor) -> Tensor:
    """Return the gradient scaled to the weight's norm."""
    move: Tensor = gradient * (weight.norm() / (gradient.norm() + 1e-20))
    return move
