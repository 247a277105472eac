"""MoCHi: MoCo v2 with harder negatives, mixed on the fly from each query's hardest keys.

paper: Hard Negative Mixing for Contrastive Learning (2020)
needs: two views            modalities: any with an encoder
sizes: B samples, K queued keys, W encoder width, D projection width
differences: no official code. Mixing waits for `warmup_epochs`, and mixes real keys only, never the queue's first,
    random rows. As in MoCo v2 here, nothing is shuffled over processes.
"""

from typing import Self

import torch
from torch import Tensor, nn

from withstand.core.batch import Batch
from withstand.core.roles import Method, Model, Source, Terms
from withstand.losses.contrast.hard_negatives.hard_mixing import mix_hard_negatives
from withstand.losses.contrast.momentum_contrast import info_nce_queue
from withstand.losses.precision import unit_rows
from withstand.methods.shared.pairs import pair_terms, require_positive, view_pair
from withstand.models.blocks.heads import ProjectionHead
from withstand.models.blocks.memory.ema import Momentum, Teacher
from withstand.models.blocks.memory.queue import Queue
from withstand.models.pictures.normalized import Normalized

MOMENTUM = Momentum(0.999, None)


class MoCHi(Method):
    """Momentum contrast with mixed hard negatives.

    Args:
        encoder: the network to train; its `width` sizes the head.
        hidden: width of the head's hidden layer; None for the encoder's width, as in the paper.
        dim: width of the projection.
        queue_size: K, at least the batch.
        hardest: N, how many of a query's nearest keys are mixed.
        pairs: s, mixtures of two of them; with few classes keep it small beside K.
        with_query: s', mixtures of the query with one of them.
        warmup_epochs: epochs before mixing begins; early neighbours are noise.
        temperature: tau.
        momentum: of the key encoder.
        batch_norm: normalise inside the head.
    """

    def __init__(
        self,
        encoder: Model,
        *,
        hidden: int | None = None,
        dim: int = 128,
        queue_size: int = 65536,
        hardest: int = 1024,
        pairs: int = 1024,
        with_query: int = 128,
        warmup_epochs: int = 10,
        temperature: float = 0.2,
        momentum: Momentum = MOMENTUM,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        require_positive(temperature=temperature, hardest=hardest, pairs=pairs + 1, with_query=with_query + 1)
        self.encoder, self.temperature = encoder, temperature
        self.hardest, self.pairs, self.with_query = hardest, pairs, with_query
        self.warmup_epochs = warmup_epochs
        width = encoder.width if hidden is None else hidden
        self.head = ProjectionHead(encoder.width, width, dim, batch_norm=batch_norm, bias=not batch_norm)
        self.teacher = Teacher(self._student(), momentum)
        self.queue = Queue(queue_size, dim)

    @classmethod
    def example(cls) -> Self:
        return cls(Normalized.example(), hidden=12, dim=10, queue_size=20, warmup_epochs=0)

    def step(self, batch: Batch) -> Terms:
        """Return the loss, the share of queries nearer to their key than to any negative `found`, and `positive`."""
        seen, other = view_pair(batch)
        query, key = self.head(self.encoder(seen)), self.teacher(other)
        own = self._synthetic(query, batch)
        loss = info_nce_queue(query, key, self.queue.rows, self.temperature, own=own)
        self.queue.offer(key)
        return pair_terms(loss, query, key) | {"found": _found(query, key, self.queue.rows, own)}

    def accept(self, source: Source, batch: int) -> None:
        self.queue.accept(batch)

    def before_run(self, steps: int) -> None:
        self.teacher.before_run(steps)

    def after_step(self, step: int) -> None:
        self.queue.push_offered()
        self.teacher.follow(self._student(), step)

    def _synthetic(self, query: Tensor, batch: Batch) -> Tensor:
        """Return each query's mixed negatives, `(B, S, D)`; S is 0 where nothing is to be mixed yet."""
        known = self.queue.known()
        if batch.epoch < self.warmup_epochs or len(known) == 0 or not self.pairs + self.with_query:
            return known.new_empty(len(query), 0, known.shape[1])
        sizes = {"hardest": self.hardest, "pairs": self.pairs, "with_query": self.with_query}
        return mix_hard_negatives(unit_rows(query.detach().to(known.dtype)), known, batch.draws("hard mixing"), **sizes)

    def _student(self) -> nn.Module:
        return nn.Sequential(self.encoder, self.head)


@torch.no_grad()
def _found(query: Tensor, key: Tensor, rows: Tensor, own: Tensor) -> Tensor:
    """Return the share of queries that are nearer to their own key than to any negative."""
    query, key = unit_rows(query.to(rows.dtype)), unit_rows(key.to(rows.dtype))
    hardest = (query @ rows.T).amax(1) if len(rows) else torch.full_like(query[:, 0], -torch.inf)
    if own.shape[1]:
        hardest = torch.maximum(hardest, torch.einsum("bd,bsd->bs", query, own).amax(1))
    return ((query * key).sum(1) > hardest).to(rows.dtype).mean()
