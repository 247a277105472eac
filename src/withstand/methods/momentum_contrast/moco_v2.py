"""MoCo v2: a query must find its key, made by a slow copy of the encoder, among a long queue of earlier keys.

paper: Improved Baselines with Momentum Contrastive Learning (2020), on MoCo (2019)
needs: two views            modalities: any with an encoder
sizes: B samples, K queued keys, W encoder width, D projection width
differences: the official code shuffles samples over processes so that batch normalisation tells a key nothing of its
    query; here statistics are those of the global batch, and there is nothing to shuffle. The paper learns in one
    direction, view 1 from view 2; solo-learn's MoCo v2+ in both, with a queue for each: see `symmetric`.
"""

from typing import Self

import torch
from torch import nn

from withstand.core.batch import Batch
from withstand.core.roles import Method, Model, Source, Terms
from withstand.losses.contrast.momentum_contrast import info_nce_queue
from withstand.methods.shared.pairs import pair_terms, require_positive, view_pair
from withstand.models.blocks.heads import ProjectionHead
from withstand.models.blocks.memory.ema import Momentum, Teacher
from withstand.models.blocks.memory.queue import Queues
from withstand.models.pictures.normalized import Normalized

MOMENTUM = Momentum(0.999, None)


class MoCoV2(Method):
    """Momentum contrast with a queue.

    Args:
        encoder: the network to train; its `width` sizes the head.
        hidden: width of the head's hidden layer; None for the encoder's width, as in the paper.
        dim: width of the projection.
        queue_size: K, at least the batch.
        temperature: tau.
        momentum: of the key encoder. Short runs want less than the paper's 0.999.
        symmetric: learn both views from each other, for twice the work.
        batch_norm: normalise inside the head.
    """

    def __init__(
        self,
        encoder: Model,
        *,
        hidden: int | None = None,
        dim: int = 128,
        queue_size: int = 65536,
        temperature: float = 0.2,
        momentum: Momentum = MOMENTUM,
        symmetric: bool = False,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        require_positive(temperature=temperature)
        self.encoder, self.temperature, self.symmetric = encoder, temperature, symmetric
        width = encoder.width if hidden is None else hidden
        self.head = ProjectionHead(encoder.width, width, dim, batch_norm=batch_norm, bias=not batch_norm)
        self.teacher = Teacher(self._student(), momentum)
        self.queues = Queues(1 + symmetric, queue_size, dim)

    @classmethod
    def example(cls) -> Self:
        return cls(Normalized.example(), hidden=12, dim=10, queue_size=20)

    def step(self, batch: Batch) -> Terms:
        """Return the loss, mean over directions, and the mean cosine of queries and keys, `positive`."""
        views = view_pair(batch)
        pairs, losses = [], []
        for queue, seen, other in zip(self.queues.each(), views, reversed(views), strict=False):
            query, key = self.head(self.encoder(seen)), self.teacher(other)
            losses.append(info_nce_queue(query, key, queue.rows, self.temperature))
            queue.offer(key)
            pairs.append((query, key))
        return pair_terms(torch.stack(losses).mean(), *pairs[0])

    def accept(self, source: Source, batch: int) -> None:
        for queue in self.queues.each():
            queue.accept(batch)

    def before_run(self, steps: int) -> None:
        self.teacher.before_run(steps)

    def after_step(self, step: int) -> None:
        for queue in self.queues.each():
            queue.push_offered()
        self.teacher.follow(self._student(), step)

    def _student(self) -> nn.Module:
        return nn.Sequential(self.encoder, self.head)
