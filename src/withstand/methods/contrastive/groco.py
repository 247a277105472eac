"""GroCo: every other view of a sample must rank above its nearest other samples, by a differentiable sorting network.

paper: Learning by Sorting: Self-supervised Learning with Group Ordering Constraints (2023)
needs: two or more views, whole ones first      modalities: any with an encoder
sizes: V views, B samples, W encoder width, D projection width
differences: whole views are told by their shape, which is the first view's. With k negatives and one positive, the
    positive is one of k + 1 entries in the mean, as in the official code.
"""

from typing import Self

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError
from withstand.core.roles import Method, Model, Terms
from withstand.losses.contrast.sorting import groco
from withstand.methods.shared.crops import each, several_views
from withstand.methods.shared.pairs import pair_terms, require_positive
from withstand.models.blocks.heads import ProjectionHead
from withstand.models.pictures.normalized import Normalized


class GroCo(Method):
    """Contrastive learning by sorting.

    Args:
        encoder: the network to train; its `width` sizes the head.
        hidden: width of the head's hidden layers; None for `dim`, as in the paper.
        dim: width of the projection.
        negatives: k, the nearest other samples that are sorted along; below the batch.
        steepness: of the sorting network.
        stop_gradient: let gradients reach anchors only.
    """

    def __init__(
        self,
        encoder: Model,
        *,
        hidden: int | None = None,
        dim: int = 2048,
        negatives: int = 10,
        steepness: float = 1.0,
        stop_gradient: bool = True,
    ) -> None:
        super().__init__()
        require_positive(steepness=steepness)
        if negatives < 1:
            raise ConfigError(f"negatives must be at least 1, not {negatives!r}")
        self.encoder, self.negatives = encoder, negatives
        self.steepness, self.stop_gradient = steepness, stop_gradient
        width = dim if hidden is None else hidden
        self.head = ProjectionHead(encoder.width, width, dim, 3, last_batch_norm=True, last_bias=False)

    @classmethod
    def example(cls) -> Self:
        return cls(Normalized.example(), hidden=12, dim=10, negatives=3)

    def step(self, batch: Batch) -> Terms:
        """Return the loss and the mean cosine of the first two views, `positive`."""
        views = several_views(batch)
        whole = sum(view.shape == views[0].shape for view in views)
        z = each(lambda some: self.head(self.encoder(some)), views)
        loss = groco(
            z, whole=whole, negatives=self.negatives, steepness=self.steepness, stop_gradient=self.stop_gradient
        )
        return pair_terms(loss, z[0], z[1])
