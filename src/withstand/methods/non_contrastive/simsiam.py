"""SimSiam: predict, from one view, the other's projection, through which no gradient flows.

paper: Exploring Simple Siamese Representation Learning (2020)
needs: two views            modalities: any with an encoder
sizes: B samples, W encoder width, D projection width
differences: the official code keeps the predictor's rate constant while the others' falls; here all share the plan's
    schedule. The paper's CIFAR projector has two layers.
"""

from typing import Self

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError
from withstand.core.roles import Method, Model, Terms
from withstand.losses.agreement.distillation import negative_cosine
from withstand.methods.shared.pairs import pair_terms, view_pair
from withstand.models.blocks.heads import ProjectionHead
from withstand.models.pictures.normalized import Normalized


class SimSiam(Method):
    """Siamese learning with a stop-gradient, without negatives, teacher or large batches.

    Args:
        encoder: the network to train; its `width` sizes the projector.
        hidden: width of the projector's hidden layers; None for `dim`, as in the paper.
        dim: width of the projection.
        layers: linear layers of the projector.
        bottleneck: the predictor's hidden layer is `dim` over this.
        stop_gradient: without it embeddings collapse, which is the paper's point.
    """

    def __init__(
        self,
        encoder: Model,
        *,
        hidden: int | None = None,
        dim: int = 2048,
        layers: int = 3,
        bottleneck: int = 4,
        stop_gradient: bool = True,
    ) -> None:
        super().__init__()
        if not 1 <= bottleneck <= dim:
            raise ConfigError(f"bottleneck must lie in [1, dim={dim}], not {bottleneck!r}")
        self.encoder, self.stop_gradient = encoder, stop_gradient
        width = dim if hidden is None else hidden
        self.head = ProjectionHead(encoder.width, width, dim, layers, last_batch_norm=True, last_bias=False)
        self.predictor = ProjectionHead(dim, dim // bottleneck, dim)

    @classmethod
    def example(cls) -> Self:
        return cls(Normalized.example(), hidden=12, dim=10)

    def step(self, batch: Batch) -> Terms:
        """Return the loss, in [-1, 1], and the mean cosine of both views' projections, `positive`."""
        z1, z2 = (self.head(self.encoder(view)) for view in view_pair(batch))
        first = negative_cosine(self.predictor(z1), z2, stop_gradient=self.stop_gradient)
        second = negative_cosine(self.predictor(z2), z1, stop_gradient=self.stop_gradient)
        return pair_terms((first + second) / 2, z1, z2)
