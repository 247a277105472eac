"""DenseCL: momentum contrast of pictures, and of each cell of their maps with the most similar one of the other view.

paper: Dense Contrastive Learning for Self-Supervised Visual Pre-Training (2021)
needs: two views            modalities: pictures, with an encoder that has stages of maps
sizes: B samples, S cells of a map, K queued keys, D projection width
differences: as for MoCo v2, samples are not shuffled over processes. Maps of more than `grid` cells a side are averaged
    to that many, as in the official code.
"""

from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError
from withstand.core.roles import Method, Model, Source, Terms
from withstand.losses.contrast.momentum_contrast import info_nce_queue
from withstand.methods.shared.pairs import pair_terms, require_positive, view_pair
from withstand.models.blocks.heads import ProjectionHead
from withstand.models.blocks.memory.ema import Momentum, Teacher
from withstand.models.blocks.memory.queue import Queues
from withstand.models.blocks.taps import with_last_maps
from withstand.models.pictures.normalized import Normalized

MOMENTUM = Momentum(0.999, None)


class DenseCL(Method):
    """Momentum contrast with two queues: of pictures, and of the means of their cells.

    Args:
        encoder: the network to train, with stages.
        hidden: width of both heads' hidden layers; None for the encoder's width, as in the paper.
        dim: D.
        queue_size: K of either queue, at least the batch.
        temperature: tau of both losses.
        share: lambda, what the loss of cells weighs; the rest is that of pictures.
        grid: cells a side, at most.
        momentum: of the key encoder. Short runs want less than the paper's 0.999.
    """

    def __init__(
        self,
        encoder: Model,
        *,
        hidden: int | None = None,
        dim: int = 128,
        queue_size: int = 65536,
        temperature: float = 0.2,
        share: float = 0.5,
        grid: int = 7,
        momentum: Momentum = MOMENTUM,
    ) -> None:
        super().__init__()
        require_positive(temperature=temperature, grid=grid)
        if not 0 <= share <= 1:
            raise ConfigError(f"share, of the loss of cells, must lie in [0, 1], not {share!r}")
        if not encoder.stages:
            raise ConfigError(
                f"DenseCL needs maps, and {type(encoder).__name__} has no stages: take a residual network"
            )
        self.encoder, self.temperature, self.share, self.grid = encoder, temperature, share, grid
        width = encoder.width if hidden is None else hidden
        self.head = ProjectionHead(encoder.width, width, dim)
        self.cells = nn.Sequential(nn.Conv2d(encoder.width, width, 1), nn.ReLU(), nn.Conv2d(width, dim, 1))
        self.teacher = Teacher(self._student(), momentum)
        self.queues = Queues(2, queue_size, dim)

    @classmethod
    def example(cls) -> Self:
        return cls(Normalized.example(), hidden=12, dim=10, queue_size=20)

    def step(self, batch: Batch) -> Terms:
        """Return the loss, its parts `pictures` and `dense`, and the mean cosine of queries and keys, `positive`."""
        seen, other = view_pair(batch)
        query, cells, maps = self._read(seen, self.encoder, self.head, self.cells)
        with torch.no_grad():
            key, key_cells, key_maps = self._read(other, *self.teacher.network)
        matched = key_cells.gather(1, correspondence(maps, key_maps)[..., None].expand_as(cells))
        whole, dense = self.queues.each()
        pictures = info_nce_queue(query, key, whole.rows, self.temperature)
        local = info_nce_queue(cells.flatten(0, 1), matched.flatten(0, 1), dense.rows, self.temperature)
        whole.offer(key)
        dense.offer(key_cells.mean(1))
        terms = pair_terms((1 - self.share) * pictures + self.share * local, query, key)
        return {**terms, "pictures": pictures.detach(), "dense": local.detach()}

    def _read(self, x: Tensor, encoder: nn.Module, head: nn.Module, cells: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
        """Return projections `(B, D)`, those of cells `(B, S, D)`, and the cells of the encoder's maps, `(B, S, W)`."""
        assert isinstance(encoder, Model)  # a list of modules does not say which is which
        features, maps = with_last_maps(encoder, x)
        if max(maps.shape[2:]) > self.grid:
            maps = F.adaptive_avg_pool2d(maps, self.grid)
        return head(features), cells(maps).flatten(2).mT, maps.flatten(2).mT

    def accept(self, source: Source, batch: int) -> None:
        for queue in self.queues.each():
            queue.accept(batch)

    def before_run(self, steps: int) -> None:
        self.teacher.before_run(steps)

    def after_step(self, step: int) -> None:
        for queue in self.queues.each():
            queue.push_offered()
        self.teacher.follow(self._student(), step)

    def _student(self) -> nn.ModuleList:
        return nn.ModuleList([self.encoder, self.head, self.cells])


@torch.no_grad()
def correspondence(maps: Tensor, others: Tensor) -> Tensor:
    """Return for each cell of maps `(B, S, W)` the most similar one of other maps `(B, S', W)`, int64 `(B, S)`.

    Similarity is the cosine of the encoder's own features, not of projections, which know nothing at first.
    """
    one, other = (F.normalize(each.float(), dim=2) for each in (maps, others))
    return (one @ other.mT).argmax(2)
