"""SwAV: tell from one view to which prototypes another view of the sample was assigned, all prototypes used evenly.

paper: Unsupervised Learning of Visual Features by Contrasting Cluster Assignments (2020)
needs: two or more views; the first two, whole ones, are assigned       modalities: any with an encoder
sizes: B samples, V views, K prototypes, W encoder width, D projection width
differences: the official code begins to use its queue at a step that its user reckons; here at an epoch, and once the
    queue is full.
"""

from typing import Self

import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.devices.distributed import rank, world_size
from withstand.core.errors import ConfigError
from withstand.core.roles import Method, Model, Source, Terms
from withstand.losses.agreement.clustering import sinkhorn, swapped_cross_entropy
from withstand.methods.shared.crops import each, several_views
from withstand.methods.shared.pairs import pair_terms, require_positive
from withstand.models.blocks.heads import ProjectionHead
from withstand.models.blocks.memory.queue import Queues
from withstand.models.blocks.prototypes import Prototypes
from withstand.models.pictures.normalized import Normalized


class SwAV(Method):
    """Swapped prediction of online cluster assignments.

    Args:
        encoder: the network to train; its `width` sizes the head.
        hidden: width of the head's hidden layer; None for the encoder's width, as in the paper.
        dim: width of the projection.
        prototypes: K. No more than the data's samples.
        temperature: of the prediction's softmax.
        epsilon: of the assignment; small is sharp.
        iterations: of Sinkhorn's algorithm.
        frozen_epochs: epochs in which prototypes stay as they are.
        queue_size: earlier projections of each whole view that join the assignment, for batches smaller than K; 0 for
            none.
        queue_from: epoch from which on they do.
        power: prototypes' shares fall as this power of their number, for data whose kinds are unequally frequent; 0
            gives them equal shares.
    """

    epoch: Tensor

    def __init__(
        self,
        encoder: Model,
        *,
        hidden: int | None = None,
        dim: int = 128,
        prototypes: int = 3000,
        temperature: float = 0.1,
        epsilon: float = 0.05,
        iterations: int = 3,
        frozen_epochs: int = 1,
        queue_size: int = 0,
        queue_from: int = 15,
        power: float = 0.0,
    ) -> None:
        super().__init__()
        require_positive(temperature=temperature, epsilon=epsilon, iterations=iterations)
        if queue_size < 0:
            raise ConfigError(f"queue_size must be at least 0, not {queue_size!r}")
        self.encoder, self.temperature = encoder, temperature
        if not power >= 0:
            raise ConfigError(f"power must be at least 0, not {power!r}")
        self.epsilon, self.iterations, self.power = epsilon, iterations, power
        self.frozen_epochs, self.queue_from = frozen_epochs, queue_from
        width = encoder.width if hidden is None else hidden
        self.head = ProjectionHead(encoder.width, width, dim)
        self.prototypes = Prototypes(dim, prototypes)
        self.queues = Queues(2 if queue_size else 0, queue_size, dim)

    @classmethod
    def example(cls) -> Self:
        return cls(Normalized.example(), hidden=12, dim=10, prototypes=6, frozen_epochs=0)

    def step(self, batch: Batch) -> Terms:
        """Return the loss, the share of prototypes that are some sample's first choice `used`, and `positive`."""
        z = each(lambda views: self.head(self.encoder(views)), several_views(batch))
        frozen = batch.epoch < self.frozen_epochs
        scores = [self.prototypes(view, frozen=frozen) for view in z]
        codes = [self._codes(place, scores[place].detach(), batch.epoch) for place in range(2)]
        for queue, view in zip(self.queues.each(), z, strict=False):
            queue.offer(view)
        loss = swapped_cross_entropy(scores, codes, self.temperature)
        used = (codes[0].argmax(1).bincount(minlength=codes[0].shape[1]) > 0).sum() / min(codes[0].shape)
        return pair_terms(loss, z[0], z[1]) | {"used": used}

    def accept(self, source: Source, batch: int) -> None:
        count, samples = len(self.prototypes.weight), len(source)
        if count > samples:
            raise ConfigError(
                f"prototypes {count} are more than the {samples} samples that share them evenly: use {samples} or fewer"
            )
        for queue in self.queues.each():
            queue.accept(batch)

    def after_step(self, step: int) -> None:
        for queue in self.queues.each():
            queue.push_offered()
        self.prototypes.renormalise()

    def _codes(self, place: int, scores: Tensor, epoch: int) -> Tensor:
        """Return the assignments `(B, K)` of a whole view, the queue's rows assigned along with them."""
        if len(self.queues) and epoch >= self.queue_from:
            queue = self.queues.each()[place]
            if int(queue.filled) == len(queue):
                # Every process holds the whole queue and brings its share of it.
                earlier = self.prototypes(_share(queue.rows)).detach()
                return self._assigned(torch.cat([scores, earlier]))[: len(scores)]
        return self._assigned(scores)

    def _assigned(self, scores: Tensor) -> Tensor:
        return sinkhorn(scores, self.epsilon, self.iterations, self.power)


def _share(rows: Tensor) -> Tensor:
    """Return this process's part of rows that all processes hold."""
    if len(rows) % world_size():
        raise ConfigError(f"queue_size {len(rows)} cannot be shared evenly by {world_size()} processes")
    return rows.tensor_split(world_size())[rank()]
