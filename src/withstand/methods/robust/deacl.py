"""DeACL: a plainly pretrained encoder is distilled into one that withstands attacks, without labels.

paper: Decoupled Adversarial Contrastive Learning for Self-supervised Adversarial Robustness (2022), its second stage
needs: one view             modalities: any with an encoder and inputs in [0, 1]
sizes: B samples, D features
differences: none known without `center`. Stage one is any method of this package that trains an encoder.
"""

from typing import Self

import torch
from torch import Tensor, nn

from withstand.attacks.attack import InputAttack
from withstand.attacks.inputs.gradient import PGD
from withstand.attacks.objectives import EmbeddingDistance
from withstand.core.batch import Batch, unit_range
from withstand.core.errors import ConfigError
from withstand.core.random import Draws
from withstand.core.roles import Epoch, Method, Model, Terms
from withstand.losses.robust.adversarial import decoupled_alignment
from withstand.methods.shared.adversarial_training.attack_in_training import attack_in_training
from withstand.models.pictures.normalized import Normalized

ATTACK = PGD(steps=5, step_size=0.25, keep_best=False)
"""The paper's: five steps of eps/4 from a uniform start, the last point."""


class DeACL(Method):
    """A student that agrees with a frozen teacher on clean samples, and with itself under attack.

    Args:
        encoder: the student, which users take away.
        teacher: an encoder of the same width, which takes the weights of the run's earlier stage; it is frozen, in eval
            mode.
        gamma: what consistency under attack weighs.
        center: subtract the teacher's mean over the data from all features first. Features behind a ReLU share a large
            mean: after short training their cosines are all near 1, and say nothing of what tells samples apart.
        scratch: the student starts anew; else it takes the earlier stage's weights as well, and is a network like it.
        attack: the inner attack, on the cosine between the student's attacked features and the teacher's clean ones.
    """

    steps: Tensor
    mean: Tensor

    def __init__(
        self,
        encoder: Model,
        teacher: Model,
        *,
        gamma: float = 2.0,
        center: bool = False,
        scratch: bool = False,
        attack: InputAttack = ATTACK,
    ) -> None:
        super().__init__()
        if encoder.width != teacher.width:
            raise ConfigError(f"the student has {encoder.width} features, the teacher {teacher.width}: make them equal")
        if not gamma >= 0 or attack.ball.targeted:
            raise ConfigError(f"gamma must be at least 0 and the attack untargeted, not {gamma!r} and {attack.ball!r}")
        self.encoder, self.gamma, self.center, self.scratch = encoder, gamma, center, scratch
        self.attack = attack
        self.teacher = teacher.requires_grad_(False).eval()
        self.register_buffer("mean", torch.zeros(teacher.width))  # stays so unless features are centred

    @classmethod
    def example(cls) -> Self:
        return cls(Normalized.example(), Normalized.example())

    def step(self, batch: Batch) -> Terms:
        """Return the loss, and the cosines `to_teacher` (clean) and `under_attack` (of attacked and clean features)."""
        x = batch.views[0] if batch.views else batch.x
        x = unit_range(x)
        with torch.no_grad():
            wanted = self.teacher(x) - self.mean
        # Clean and attacked samples in one pass, so that they share batch statistics, as in the official code.
        clean, under = (
            self.encoder(torch.cat([x, self.attacked(x, wanted, batch.draws("inner attack"))])) - self.mean
        ).chunk(2)
        losses = decoupled_alignment(clean, under, wanted, self.gamma)
        to_teacher = -decoupled_alignment(clean, under, wanted, 0.0).detach().mean()
        return {
            "loss": losses.mean(),
            "to_teacher": to_teacher,
            "under_attack": -decoupled_alignment(under, under, clean, 0.0).detach().mean(),
            "embeddings": torch.stack([clean, under]).detach(),
        }

    def attacked(self, x: Tensor, wanted: Tensor, draws: Draws) -> Tensor:
        """Return samples `(B, ...)` attacked to lead the student, in eval mode, away from centred `wanted` features."""
        away = EmbeddingDistance()
        network = nn.Sequential(self.encoder, _Shift(-self.mean))
        return attack_in_training(self.encoder, network, self.attack, x, wanted, draws, objective=away)

    def inherit(self, earlier: Method) -> None:
        weights = earlier.encoder.state_dict()
        self.teacher.load_state_dict(weights)
        if not self.scratch:
            self.encoder.load_state_dict(weights)

    def before_epoch(self, epoch: Epoch) -> None:
        if self.center and epoch.number == 0:
            self.mean.copy_(epoch.pass_over(self.teacher).mean(0))

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all but the teacher, which stays in eval mode."""
        super().train(mode)
        self.teacher.eval()
        return self


class _Shift(nn.Module):
    def __init__(self, by: Tensor) -> None:
        super().__init__()
        self.by = by

    def forward(self, x: Tensor) -> Tensor:
        return x + self.by
