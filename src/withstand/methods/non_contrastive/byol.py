"""BYOL: predict, from one view, what a slow copy of the network makes of the other.

paper: Bootstrap Your Own Latent: A New Approach to Self-Supervised Learning (2020)
needs: two views            modalities: any with an encoder
sizes: B samples, W encoder width, D projection width
differences: solo-learn's CIFAR recipe starts the teacher at 0.99; the paper at 0.996, for a thousand epochs.
"""

from typing import Self

from torch import nn

from withstand.core.batch import Batch
from withstand.core.roles import Method, Model, Terms
from withstand.losses.agreement.distillation import byol
from withstand.methods.shared.pairs import pair_terms, view_pair
from withstand.models.blocks.heads import ProjectionHead
from withstand.models.blocks.memory.ema import Momentum, Teacher
from withstand.models.pictures.normalized import Normalized

MOMENTUM = Momentum(0.996, 1.0)


class BYOL(Method):
    """Bootstrapping from a teacher, without negatives.

    Args:
        encoder: the network to train; its `width` sizes the heads.
        hidden: width of hidden layers; None for twice the encoder's width, as in the paper.
        dim: width of the projection.
        momentum: of the teacher.
    """

    def __init__(
        self, encoder: Model, *, hidden: int | None = None, dim: int = 256, momentum: Momentum = MOMENTUM
    ) -> None:
        super().__init__()
        self.encoder = encoder
        width = 2 * encoder.width if hidden is None else hidden
        self.head = ProjectionHead(encoder.width, width, dim, last_bias=False)
        self.predictor = ProjectionHead(dim, width, dim, last_bias=False)
        self.teacher = Teacher(self._student(), momentum)

    @classmethod
    def example(cls) -> Self:
        return cls(Normalized.example(), hidden=12, dim=10)

    def step(self, batch: Batch) -> Terms:
        """Return the loss, the sum of both directions, and the mean cosine of both views' projections, `positive`."""
        # Passes of their own: each view has its own batch statistics.
        views = view_pair(batch)
        z1, z2 = (self.head(self.encoder(view)) for view in views)
        target1, target2 = (self.teacher(view) for view in views)
        loss = byol(self.predictor(z1), target2) + byol(self.predictor(z2), target1)
        return pair_terms(loss, z1, z2)

    def before_run(self, steps: int) -> None:
        self.teacher.before_run(steps)

    def after_step(self, step: int) -> None:
        self.teacher.follow(self._student(), step)

    def _student(self) -> nn.Module:
        return nn.Sequential(self.encoder, self.head)
