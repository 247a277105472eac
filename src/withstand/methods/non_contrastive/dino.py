"""DINO: tell, from every view, what a slow copy of the network makes of a whole view; centred and sharpened.

paper: Emerging Properties in Self-Supervised Vision Transformers (2021)
needs: two or more views; the teacher sees the first two, whole ones      modalities: any with an encoder
sizes: B samples, V views, K prototypes, W encoder width
differences: the paper normalises inside the head for convolutional networks only: see `batch_norm`. solo-learn keeps
    the teacher's temperature constant, and its momentum starts at 0.9995.
"""

from typing import Self

import torch
from torch import Tensor, nn

from withstand.core.batch import Batch
from withstand.core.roles import Method, Model, Terms
from withstand.losses.agreement.clustering import swapped_cross_entropy
from withstand.methods.shared.centering import check_center_momentum, follow_center, warmed
from withstand.methods.shared.crops import each, several_views
from withstand.methods.shared.pairs import pair_terms, require_positive
from withstand.models.blocks.memory.ema import Momentum, Teacher
from withstand.models.blocks.prototypes import DINOHead
from withstand.models.pictures.normalized import Normalized

MOMENTUM = Momentum(0.996, 1.0)


class DINO(Method):
    """Self-distillation without labels.

    Args:
        encoder: the network to train; its `width` sizes the head.
        hidden: width of the head's hidden layers; None for the encoder's width.
        dim: width of the head's bottleneck.
        prototypes: K, the head's outputs.
        temperature: of the student.
        teacher_temperature: of the teacher, after the warm-up.
        warmup_temperature: of the teacher at first; it rises linearly.
        warmup_epochs: epochs of that rise.
        center_momentum: how much of itself the teacher's center keeps in a step; 1 keeps it at 0, without centring.
        frozen_epochs: epochs in which prototypes stay as they are.
        momentum: of the teacher.
        batch_norm: normalise inside the head.
    """

    center: Tensor
    epoch: Tensor

    def __init__(
        self,
        encoder: Model,
        *,
        hidden: int | None = None,
        dim: int = 256,
        prototypes: int = 65536,
        temperature: float = 0.1,
        teacher_temperature: float = 0.07,
        warmup_temperature: float = 0.04,
        warmup_epochs: int = 30,
        center_momentum: float = 0.9,
        frozen_epochs: int = 1,
        momentum: Momentum = MOMENTUM,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        require_positive(
            temperature=temperature, teacher_temperature=teacher_temperature, warmup_temperature=warmup_temperature
        )
        check_center_momentum(center_momentum)
        self.encoder, self.temperature = encoder, temperature
        self.course = (warmup_temperature, teacher_temperature, warmup_epochs)
        self.center_momentum, self.frozen_epochs = center_momentum, frozen_epochs
        width = encoder.width if hidden is None else hidden
        self.head = DINOHead(encoder.width, width, dim, prototypes, batch_norm=batch_norm)
        self.teacher = Teacher(self._student(), momentum)
        self.register_buffer("center", torch.zeros(prototypes))
        self._seen: Tensor | None = None

    @classmethod
    def example(cls) -> Self:
        return cls(Normalized.example(), hidden=12, dim=10, prototypes=6, warmup_epochs=0, frozen_epochs=0)

    def step(self, batch: Batch) -> Terms:
        """Return the loss, the entropy of the teacher's outputs and of their mean over the batch, and `positive`."""
        views = several_views(batch)
        frozen = batch.epoch < self.frozen_epochs
        z = each(lambda some: self.head.embed(self.encoder(some)), views)
        scores = [self.head.prototypes(view, frozen=frozen) for view in z]
        logits = each(self.teacher, views[:2])
        targets = [((view - self.center) / self.teacher_temperature(batch.epoch)).softmax(1) for view in logits]
        if self.training:
            self._seen = torch.cat(logits).mean(0)
        one = targets[0]
        return pair_terms(swapped_cross_entropy(scores, targets, self.temperature), z[0], z[1]) | {
            "entropy": torch.special.entr(one).sum(1).mean(),
            "batch_entropy": torch.special.entr(one.mean(0)).sum(),
        }

    def teacher_temperature(self, epoch: int) -> float:
        """Return the teacher's temperature in an epoch."""
        return warmed(self.course, epoch)

    def before_run(self, steps: int) -> None:
        self.teacher.before_run(steps)

    def after_step(self, step: int) -> None:
        if self._seen is not None:
            follow_center(self.center, self._seen, self.center_momentum)
        self._seen = None
        self.teacher.follow(self._student(), step)

    def _student(self) -> nn.Module:
        return nn.Sequential(self.encoder, self.head)
