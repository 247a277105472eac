"""RoCL: an instance-wise attack makes a third view, which contrastive learning must find again.

paper: Adversarial Self-Supervised Contrastive Learning (2020)
needs: two views            modalities: any with an encoder and views in [0, 1]
sizes: B samples
differences: the second loss reuses the projections of the first's pass; the official code passes its two views once
    more. While it searches, the attack holds the other view's projection, which in eval mode does not change.
"""

from typing import Self

import torch
from torch import Tensor

from withstand.attacks.attack import InputAttack
from withstand.attacks.inputs.gradient import PGD
from withstand.core.batch import Batch, unit_range
from withstand.core.errors import ConfigError
from withstand.core.random import Draws
from withstand.core.roles import Method, Model, Terms
from withstand.losses.contrast.multi_view import nt_xent_views
from withstand.methods.shared.adversarial_training.attack_in_training import (
    BatchLoss,
    attack_in_training,
    refuse_single_samples,
)
from withstand.methods.shared.pairs import view_pair
from withstand.models.blocks.heads import ProjectionHead
from withstand.models.pictures.normalized import Normalized

ATTACK = PGD(steps=7, step_size=0.223, keep_best=False)
"""The paper's: seven steps of 0.007 within 0.0314 from a uniform start, the last point."""


class RoCL(Method):
    """Contrast of two views and an attacked one.

    Args:
        encoder: the network to train; its `width` sizes the head.
        hidden: width of the head's hidden layer; None for the encoder's width.
        dim: width of the projection.
        temperature: tau.
        attack: the inner attack, on the first view; it raises the contrastive loss of the first view and the second.
        attacked_weight: 1 / lambda, weight of that same loss beside the one of all three views.
    """

    steps: Tensor

    def __init__(
        self,
        encoder: Model,
        *,
        hidden: int | None = None,
        dim: int = 128,
        temperature: float = 0.5,
        attack: InputAttack = ATTACK,
        attacked_weight: float = 1 / 256,
    ) -> None:
        super().__init__()
        if not temperature > 0 or not attacked_weight >= 0:
            raise ConfigError(
                f"temperature must be above 0 and attacked_weight at least 0, not {temperature!r}, {attacked_weight!r}"
            )
        refuse_single_samples(attack)
        self.encoder, self.temperature = encoder, temperature
        self.attack, self.attacked_weight = attack, attacked_weight
        self.head = ProjectionHead(encoder.width, encoder.width if hidden is None else hidden, dim)

    @classmethod
    def example(cls) -> Self:
        return cls(Normalized.example(), hidden=12, dim=10)

    def step(self, batch: Batch) -> Terms:
        """Return the loss, and of it the attacked pair's, `attacked_loss`, times its weight."""
        one, two = (_unit(view) for view in view_pair(batch))
        worse = self.attacked(one, two, batch.draws("inner attack"))
        # All three in one pass, so that they share batch statistics, as in the official code.
        z1, z2, z3 = self.head(self.encoder(torch.cat([one, two, worse]))).chunk(3)
        three, pair = (nt_xent_views(views, self.temperature) for views in ((z1, z2, z3), (z3, z2)))
        return {
            "loss": three + self.attacked_weight * pair,
            "attacked_loss": pair.detach(),
            "embeddings": torch.stack([z1, z2]).detach(),
        }

    def attacked(self, one: Tensor, two: Tensor, draws: Draws) -> Tensor:
        """Return the first views, `(B, ...)` in [0, 1], attacked to be told from the second, in eval mode."""
        fixed: list[Tensor] = []

        def forward(x: Tensor) -> Tensor:
            if not fixed:
                with torch.no_grad():
                    fixed.append(self.head(self.encoder(two)))
            loss = nt_xent_views((self.head(self.encoder(x)), fixed[0]), self.temperature)
            return loss.expand(len(x), 1)

        goal = one.new_zeros(len(one), 1)
        return attack_in_training(self, forward, self.attack, one, goal, draws, objective=BatchLoss())


def _unit(view: Tensor) -> Tensor:
    return unit_range(view)
