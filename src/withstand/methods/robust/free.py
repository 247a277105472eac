"""Free adversarial training: one backward pass serves the weights and the perturbation, several times a batch.

paper: Adversarial Training for Free! (2019)
needs: labels, one view     modalities: any with an encoder and inputs in [0, 1]
sizes: B samples over all processes, m replays
differences: none known. As in the official code the perturbation is kept for the next batch, other samples though they
    are, starts at zero, and is clipped to the ball but not to the range: the sum is. An epoch replays every batch m
    times: divide the usual number of epochs by m.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.devices.distributed import first_row, gather, world_size
from withstand.core.errors import ConfigError
from withstand.core.roles import Model, Terms, Trainer
from withstand.core.threat import Ball
from withstand.losses.robust.comp_sum import comp_sum
from withstand.methods.shared.labelled import ATTACKED, LabelledMethod, accuracy
from withstand.models.pictures.normalized import Normalized

BALL = Ball()


class FreeAdversarialTraining(LabelledMethod):
    """A classifier trained against a perturbation that improves with every replay of the batch.

    Args:
        encoder: the network to train.
        classes: how many labels there are.
        ball: how far an input is moved; every replay moves it by the whole radius, and projects.
        replays: m.
    """

    carried: Tensor

    def __init__(self, encoder: Model, *, classes: int, ball: Ball = BALL, replays: int = 8) -> None:
        super().__init__(encoder, classes)
        if replays < 1 or ball.targeted:
            raise ConfigError(f"replays must be at least 1 and the ball untargeted, not {replays!r} and {ball!r}")
        ball.refuse_l0("free adversarial training")
        self.ball, self.replays = ball, replays
        self.register_buffer("carried", torch.zeros(0))  # (B, ...) from the first batch on

    @classmethod
    def example(cls) -> Self:
        return cls(Normalized.example(), classes=4)

    def step(self, batch: Batch) -> Terms:
        """Return the loss under the perturbation at hand, and the accuracy there."""
        x, y = self.samples(batch), self.labels(batch)
        moved = batch.extras.get(ATTACKED)
        logits = self.logits((x + self.perturbation(x)).clamp(0, 1) if moved is None else moved)
        return {"loss": comp_sum(logits, y).mean(), "robust_accuracy": accuracy(logits, y)}

    def update(self, batch: Batch, trainer: Trainer) -> Terms:
        """Replay the batch: each time the weights descend, and the perturbation climbs."""
        x = self.samples(batch)
        delta = self.perturbation(x)
        terms: Terms = {}
        for _ in range(self.replays):
            delta = delta.detach().requires_grad_(True)
            terms = trainer.terms(replace(batch, extras={**batch.extras, ATTACKED: (x + delta).clamp(0, 1)}))
            trainer.descend(terms["loss"])
            assert delta.grad is not None
            delta = self.ball.project(delta.detach() + self.ball.eps * self.ball.direction(delta.grad))
        self.carried = gather(delta)
        return terms

    def perturbation(self, x: Tensor) -> Tensor:
        """Return what the last batch left for these samples, shaped like `x`; zero before there is any."""
        if self.carried.shape != (len(x) * world_size(), *x.shape[1:]):
            return torch.zeros_like(x)
        first = first_row(len(x))
        return self.carried[first : first + len(x)].to(x)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        given = state_dict.get(f"{prefix}carried")
        if given is not None:
            self.carried = torch.zeros_like(given, device=self.carried.device)
        super()._load_from_state_dict(state_dict, prefix, *rest)
