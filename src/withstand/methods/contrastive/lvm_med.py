"""LVM-Med: two views of a batch are two graphs, and matching them must find each picture again.

paper: LVM-Med: Learning Large-Scale Self-Supervised Vision Models for Medical Imaging via Second-order Graph Matching
    (2023)
needs: two views, and where in the picture they lie        modalities: pictures, slices of volumes
sizes: B pictures in G graphs of N, k neighbours, D projection width, P cells of a map
differences: written from the paper, for the training code was never published; matchings by ascent from several starts
    where the paper has a solver by Lagrange decomposition; degrees of graphs with their loops
"""

from typing import Self

import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import Draws
from withstand.core.roles import Method, Model, Source, Terms
from withstand.methods.shared.pairs import require_positive, view_pair
from withstand.methods.shared.whole_batches import refuse_odd_batch
from withstand.models.blocks.heads import ProjectionHead
from withstand.models.blocks.taps import with_last_maps
from withstand.models.matching.assignment import Affinities
from withstand.models.matching.black_box import matching_loss
from withstand.models.matching.graphs import (
    MessagePassing,
    cell_places,
    cosines,
    edge_affinities,
    local_affinities,
    nearest_edges,
)
from withstand.models.pictures.normalized import Normalized
from withstand.views.pictures.picture import CROP


class GraphMatching(Method):
    """Learning by second-order matching of the graphs of two views.

    Args:
        encoder: the network to train; for local affinities one whose last stage gives maps.
        graph_size: N.
        neighbours: k.
        dim: D.
        alpha: the share of the pictures' own affinities in the nodes'; the rest is their cells'.
        strength: lambda of the gradient through the matching.
        noise: scale of the Gumbel noise on affinities, whose deviation is 1.28 at 1.
        layers: of message passing.
        second_order: whether edges count.
        local: whether cells count.
        best: how many cells of a map count, those whose partners are nearest; None for all.
    """

    def __init__(
        self,
        encoder: Model,
        *,
        graph_size: int = 16,
        neighbours: int = 5,
        dim: int = 128,
        alpha: float = 0.8,
        strength: float = 80.0,
        noise: float = 1.0,
        layers: int = 2,
        second_order: bool = True,
        local: bool = True,
        best: int | None = None,
    ) -> None:
        super().__init__()
        require_positive(strength=strength, neighbours=neighbours, **({} if best is None else {"best": best}))
        if not neighbours < graph_size:
            raise ConfigError(f"neighbours must be fewer than a graph's {graph_size} nodes, not {neighbours!r}")
        if not 0 <= alpha <= 1:
            raise ConfigError(f"alpha must lie in [0, 1], not {alpha!r}")
        if not noise >= 0:
            raise ConfigError(f"noise must be at least 0, not {noise!r}")
        self.encoder, self.graph_size, self.neighbours = encoder, graph_size, neighbours
        self.share_unit = graph_size
        self.alpha, self.strength, self.noise = alpha, strength, noise
        self.second_order, self.local, self.best = second_order, local, best
        self.head = ProjectionHead(encoder.width, encoder.width, dim, layers=1)
        self.passing = MessagePassing(dim, layers)

    @classmethod
    def example(cls) -> Self:
        return cls(Normalized.example(), graph_size=4, neighbours=2, dim=6)

    def example_batch(self, rows: range = range(8)) -> Batch:
        batch = super().example_batch(rows)
        draws = torch.rand(8, 2, 5, generator=torch.Generator().manual_seed(1))
        crops = torch.cat([draws[:, :, :2] / 2, draws[:, :, 2:4] / 2, draws[:, :, 4:].round()], 2)
        return Batch(batch.x, batch.index, batch.y, views=batch.views, extras={CROP: crops[list(rows)]})

    def accept(self, source: Source, batch: int) -> None:
        if len(source.shape) != 3:
            raise DataError(f"graphs are of pictures or slices (C, H, W), not of samples of shape {source.shape}")
        refuse_odd_batch(batch, self.graph_size, self.graph_size, len(source), f"whole graphs of {self.graph_size}")

    def step(self, batch: Batch) -> Terms:
        """Return the loss and the share of pictures that are matched to themselves, `matched`."""
        found, embeddings = self._affinities(batch)
        noisy = self.with_noise(found, batch.draws("noise"), self.noise)
        loss = matching_loss(noisy, self.strength)[0].mean()
        return {
            "loss": loss,
            "matched": 1 - loss.detach() / (2 * self.graph_size),
            "embeddings": embeddings,
        }

    def affinities(self, batch: Batch) -> Affinities:
        """Return how well the nodes and edges of the two views' graphs fit, without noise."""
        return self._affinities(batch)[0]

    @staticmethod
    def with_noise(affinities: Affinities, draws: Draws, scale: float) -> Affinities:
        """Return affinities with Gumbel noise, drawn for each picture on its own.

        Args:
            affinities: of pictures in graphs, one after the other.
            draws: of the pictures.
            scale: factor of the noise; 0 for none.
        """
        if not scale:
            return affinities
        node, edge = affinities.node, affinities.edge
        node = node + scale * _gumbel(draws.child("nodes"), node.shape[2]).view_as(node).to(node)
        if edge is not None:
            own = edge.shape[1] // node.shape[1] * edge.shape[2]
            edge = edge + scale * _gumbel(draws.child("edges"), own).view_as(edge).to(edge)
        return Affinities(node, edge, affinities.first, affinities.second)

    def _affinities(self, batch: Batch) -> tuple[Affinities, Tensor]:
        views = view_pair(batch)
        if len(batch) % self.graph_size or not len(batch):
            raise DataError(
                f"{len(batch)} samples cannot be cut into graphs of {self.graph_size}: give each process a multiple of "
                f"{self.graph_size} a step"
            )
        x = torch.cat(views)
        if self.local:
            features, maps = with_last_maps(self.encoder, x)
        else:
            features, maps = self.encoder(x), None
        z = self.head(features)
        shape = (2, -1, self.graph_size, z.shape[1])
        nodes = z.view(shape)
        first, second = (nearest_edges(one, self.neighbours) for one in nodes)
        one, other = self.passing(nodes[0], first), self.passing(nodes[1], second)
        node = cosines(one, other)
        if maps is not None:
            here, there = self._places(batch, maps)
            cells = maps.flatten(2).mT.view(2, *nodes.shape[1:3], -1, maps.shape[1])
            forth = local_affinities(cells[0], cells[1], here, there, self.best)
            back = local_affinities(cells[1], cells[0], there, here, self.best)
            node = self.alpha * node + (1 - self.alpha) * (forth + back.mT)
        edge = edge_affinities(one, other, first, second) if self.second_order else None
        found = Affinities(node, edge, *((first, second) if self.second_order else (None, None)))
        return found, z.detach().view(2, len(batch), -1)

    def _places(self, batch: Batch, maps: Tensor) -> tuple[Tensor, Tensor]:
        if CROP not in batch.extras:
            raise DataError(
                "local affinities need to know which part of its picture a view shows: let RandomResizedCrop make it, "
                "and nothing that moves pixels come after, or set local to False"
            )
        here, there = (
            cell_places(crops, *maps.shape[2:]).view(-1, self.graph_size, maps[0, 0].numel(), 2).to(maps)
            for crops in batch.extras[CROP].unbind(1)
        )
        return here, there


def _gumbel(draws: Draws, count: int) -> Tensor:
    """Return standard Gumbel numbers, `(B, count)`."""
    # The middle of each of the 2^24 numbers that are drawn, so that none is 0.
    return -torch.log(-torch.log(draws.uniform(count).double() + 2.0**-25))
