"""NNCLR: the positive of a view is the nearest neighbour, among earlier samples, of the sample's other view.

paper: With a Little Help from My Friends: Nearest-Neighbor Contrastive Learning of Visual Representations (2021)
needs: two views            modalities: any with an encoder
sizes: B samples, K queued projections, W encoder width, D projection width
differences: the queue begins with random rows, which are never neighbours here; until it holds a batch, views stand
    for their own neighbours.
"""

from typing import Self

import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.roles import Method, Model, Source, Terms
from withstand.losses.contrast.momentum_contrast import info_nce_across
from withstand.losses.precision import full_precision, unit_rows
from withstand.methods.shared.pairs import pair_terms, require_positive, view_pair
from withstand.models.blocks.heads import ProjectionHead
from withstand.models.blocks.memory.queue import Queue
from withstand.models.pictures.normalized import Normalized


class NNCLR(Method):
    """Contrastive learning with nearest neighbours as positives.

    Args:
        encoder: the network to train; its `width` sizes the heads.
        hidden: width of hidden layers; None for the encoder's width in the projector, as in the paper.
        dim: width of the projection.
        layers: linear layers of the projector.
        queue_size: K, at least the batch: how many projections of first views are remembered.
        temperature: tau.
    """

    def __init__(
        self,
        encoder: Model,
        *,
        hidden: int | None = None,
        dim: int = 256,
        layers: int = 3,
        queue_size: int = 98304,
        temperature: float = 0.1,
    ) -> None:
        super().__init__()
        require_positive(temperature=temperature)
        self.encoder, self.temperature = encoder, temperature
        width = encoder.width if hidden is None else hidden
        self.head = ProjectionHead(encoder.width, width, dim, layers, last_batch_norm=True, last_bias=False)
        self.predictor = ProjectionHead(dim, 2 * width, dim)
        self.queue = Queue(queue_size, dim)

    @classmethod
    def example(cls) -> Self:
        return cls(Normalized.example(), hidden=12, dim=10, queue_size=20)

    def step(self, batch: Batch) -> Terms:
        """Return the loss, mean of both directions, and the mean cosine of projections of two views, `positive`."""
        z1, z2 = (self.head(self.encoder(view)) for view in view_pair(batch))
        known = self.queue.known()
        losses = [
            info_nce_across(neighbours(one, known), self.predictor(other), self.temperature)
            for one, other in ((z1, z2), (z2, z1))
        ]
        self.queue.offer(z1)
        return pair_terms(torch.stack(losses).mean(), z1, z2)

    def accept(self, source: Source, batch: int) -> None:
        self.queue.accept(batch)

    def after_step(self, step: int) -> None:
        self.queue.push_offered()


@full_precision
@torch.no_grad()
def neighbours(z: Tensor, known: Tensor) -> Tensor:
    """Return the row of `known` `(K, D)` nearest to each row of `z` `(B, D)` by cosine; z itself where K is 0."""
    if len(known) == 0:
        return z
    return known[(unit_rows(z) @ known.T).argmax(1)]
