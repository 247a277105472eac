"""MoCo v3: predictions from one view must find the other view's key, made by a slow copy, among the batch's keys.

paper: An Empirical Study of Training Self-Supervised Vision Transformers (2021)
needs: two views            modalities: any with an encoder
sizes: B samples, W encoder width, D projection width
differences: the official heads are as deep as here for ResNets, and one layer deeper for ViTs: set `layers`. The
    official code also freezes a ViT's patch projection; freeze it in the encoder you hand over if you want that.
    Temperature is 0.2 for ViTs and 1.0 for the official ResNet-50.
"""

from typing import Self

from torch import nn

from withstand.core.batch import Batch
from withstand.core.roles import Method, Model, Terms
from withstand.losses.contrast.momentum_contrast import info_nce_across
from withstand.methods.shared.pairs import pair_terms, require_positive, view_pair
from withstand.models.blocks.heads import ProjectionHead
from withstand.models.blocks.memory.ema import Momentum, Teacher
from withstand.models.pictures.normalized import Normalized

MOMENTUM = Momentum(0.99, 1.0)


class MoCoV3(Method):
    """Momentum contrast in the batch, with a predictor.

    Args:
        encoder: the network to train; its `width` sizes the heads.
        hidden: width of hidden layers; None for twice the encoder's width, as in the paper.
        dim: width of the projection.
        layers: linear layers of the projector.
        temperature: tau.
        momentum: of the key encoder.
    """

    def __init__(
        self,
        encoder: Model,
        *,
        hidden: int | None = None,
        dim: int = 256,
        layers: int = 2,
        temperature: float = 0.2,
        momentum: Momentum = MOMENTUM,
    ) -> None:
        super().__init__()
        require_positive(temperature=temperature)
        self.encoder, self.temperature = encoder, temperature
        width = 2 * encoder.width if hidden is None else hidden
        self.head = ProjectionHead(encoder.width, width, dim, layers, last_batch_norm=True, last_bias=False)
        self.predictor = ProjectionHead(dim, width, dim, last_bias=False)
        self.teacher = Teacher(self._student(), momentum)

    @classmethod
    def example(cls) -> Self:
        return cls(Normalized.example(), hidden=12, dim=10)

    def step(self, batch: Batch) -> Terms:
        """Return the loss, `2 tau` times both directions' cross-entropies, and the mean cosine `positive`."""
        views = view_pair(batch)
        z1, z2 = (self.head(self.encoder(view)) for view in views)
        key1, key2 = (self.teacher(view) for view in views)
        first = info_nce_across(self.predictor(z1), key2, self.temperature)
        second = info_nce_across(self.predictor(z2), key1, self.temperature)
        return pair_terms(2 * self.temperature * (first + second), z1, z2)

    def before_run(self, steps: int) -> None:
        self.teacher.before_run(steps)

    def after_step(self, step: int) -> None:
        self.teacher.follow(self._student(), step)

    def _student(self) -> nn.Module:
        return nn.Sequential(self.encoder, self.head)
