"""Encoders of graphs: stacks of layers that embed every node, and pool the nodes where the samples are graphs.

Sizes: `N` nodes, `B` samples, `F` features in, `D` width out.
"""

import itertools
from abc import abstractmethod
from dataclasses import replace
from typing import Literal, Self, get_args

import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.roles import Model
from withstand.data.graphs.container import Graphs
from withstand.data.graphs.sparse import Pattern, product
from withstand.models.graphs.layers import GATLayer, GCNLayer, GINLayer, GraphLayer, Norm, make_norm

Pooling = Literal["mean", "sum", "max"]


class GraphEncoder(Model):
    """Base of encoders of graphs: layers, each followed by a normalisation and an activation, the last one too.

    Attributes:
        features: F, what the nodes must have.
        width: D.
        pooling: how a graph's nodes become one vector.
    """

    features: int
    pooling: Pooling

    def _stack(
        self,
        features: int,
        layers: list[GraphLayer],
        width: int,
        norm: Norm,
        pooling: Pooling,
        activation: type[nn.Module] = nn.PReLU,
    ) -> None:
        """Take the layers; all have the same width."""
        if pooling not in get_args(Pooling):
            raise ConfigError(f"pooling {pooling!r} is unknown: {nearest(str(pooling), get_args(Pooling))}")
        if not layers:
            raise ConfigError("an encoder needs at least 1 layer")
        self.features, self.width, self.pooling = features, width, pooling
        self.layers = nn.ModuleList(layers)
        self.norms = nn.ModuleList(make_norm(norm, width) for _ in layers)
        self.activations = nn.ModuleList(activation() for _ in layers)

    @abstractmethod
    def layer(self, width_in: int, width: int) -> GraphLayer:
        """Return one layer of the same kind, with one head and no activation: a decoder's."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the samples' features `(B, D)`: of the target nodes, or of whole graphs."""
        graphs = Graphs.of(x)
        return self.samples(graphs, self.nodes(graphs))

    def samples(self, graphs: Graphs, nodes: Tensor) -> Tensor:
        """Return the samples' features `(B, D)` from those of all nodes."""
        return pool(graphs, nodes, self.pooling) if graphs.targets is None else nodes[graphs.targets]

    def nodes(self, graphs: Graphs) -> Tensor:
        """Return the features of all nodes, `(N, D)`."""
        return self.depths(graphs)[-1]

    def depths(self, graphs: Graphs) -> list[Tensor]:
        """Return what every layer makes of the nodes, each `(N, D)`."""
        if graphs.features != self.features:
            raise DataError(f"this network reads nodes of {self.features} features, not of {graphs.features}")
        found: list[Tensor] = []
        for layer, norm, activation in zip(self.layers, self.norms, self.activations, strict=True):
            h = activation(norm(layer(graphs, graphs.edges)))
            found.append(h)
            graphs = replace(graphs, x=h, fill=None, blank=None)
        return found


class GAT(GraphEncoder):
    """Graph attention network.

    Args:
        features: of each node.
        hidden: width of each layer, over all heads.
        heads: K.
        depth: number of layers.
        feature_dropout: on each layer's input.
        attention_dropout: on attention.
        slope: of attention's leaky ReLU below 0.
        norm: after each layer, "batch" or "layer".
        residual: add each layer's input to its output.
        pooling: "mean", "sum" or "max", where the samples are graphs.
    """

    def __init__(
        self,
        features: int,
        hidden: int = 512,
        heads: int = 4,
        depth: int = 2,
        *,
        feature_dropout: float = 0.2,
        attention_dropout: float = 0.1,
        slope: float = 0.2,
        norm: Norm = None,
        residual: bool = False,
        pooling: Pooling = "mean",
    ) -> None:
        super().__init__()
        self._rates = feature_dropout, attention_dropout, slope
        widths = [features, *[hidden] * depth]
        layers: list[GraphLayer] = [self._make(a, b, heads, residual) for a, b in itertools.pairwise(widths)]
        self._stack(features, layers, hidden, norm, pooling)

    @classmethod
    def example(cls) -> Self:
        return cls(4, 6, 2)

    def _make(self, width_in: int, width: int, heads: int, residual: bool) -> GATLayer:
        feature, attention, slope = self._rates
        return GATLayer(
            width_in, width, heads,
            feature_dropout=feature, attention_dropout=attention, slope=slope, residual=residual,
        )  # fmt: skip

    def layer(self, width_in: int, width: int) -> GraphLayer:
        return self._make(width_in, width, 1, False)


class GIN(GraphEncoder):
    """Graph isomorphism network.

    Args:
        features: of each node.
        hidden: width of each layer.
        depth: number of layers.
        dropout: on each layer's input.
        norm: inside and after each layer's perceptron, "batch" or "layer".
        pooling: "mean", "sum" or "max", where the samples are graphs.
    """

    def __init__(
        self,
        features: int,
        hidden: int = 512,
        depth: int = 2,
        *,
        dropout: float = 0.2,
        norm: Norm = "batch",
        pooling: Pooling = "mean",
    ) -> None:
        super().__init__()
        self._dropout, self._norm = dropout, norm
        widths = [features, *[hidden] * depth]
        layers: list[GraphLayer] = [
            GINLayer(a, b, dropout=dropout, norm=norm, last_bias=norm != "batch") for a, b in itertools.pairwise(widths)
        ]
        self._stack(features, layers, hidden, norm, pooling)

    @classmethod
    def example(cls) -> Self:
        return cls(4, 6, dropout=0.0)

    def layer(self, width_in: int, width: int) -> GraphLayer:
        return GINLayer(width_in, width, dropout=self._dropout, norm=self._norm, hidden=width_in)


class GCN(GraphEncoder):
    """Graph convolutional network, with ReLU.

    Args:
        features: of each node.
        hidden: width of each layer.
        depth: number of layers.
        dropout: on each layer's input.
        norm: after each layer, "batch" or "layer".
        pooling: "mean", "sum" or "max", where the samples are graphs.
    """

    def __init__(
        self,
        features: int,
        hidden: int = 128,
        depth: int = 1,
        *,
        dropout: float = 0.2,
        norm: Norm = None,
        pooling: Pooling = "mean",
    ) -> None:
        super().__init__()
        self._dropout = dropout
        widths = [features, *[hidden] * depth]
        layers: list[GraphLayer] = [GCNLayer(a, b, dropout=dropout) for a, b in itertools.pairwise(widths)]
        self._stack(features, layers, hidden, norm, pooling, nn.ReLU)

    @classmethod
    def example(cls) -> Self:
        return cls(4, 6, dropout=0.0)

    def layer(self, width_in: int, width: int) -> GraphLayer:
        return GCNLayer(width_in, width, dropout=self._dropout)


def pool(graphs: Graphs, nodes: Tensor, pooling: Pooling) -> Tensor:
    """Return one vector a graph from those of its nodes, `(B, D)`."""
    member, count = graphs.membership, graphs.count
    if pooling == "max":
        wide = member[:, None].expand_as(nodes)
        return nodes.new_zeros(count, nodes.shape[1]).scatter_reduce(0, wide, nodes, "amax", include_self=False)
    sizes = torch.bincount(member, minlength=count)
    start = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
    belongs = Pattern(start, torch.arange(len(member), device=member.device), len(member))
    weights = torch.ones(len(member), dtype=nodes.dtype, device=member.device)
    if pooling == "mean":
        weights = weights / sizes[member]
    return product(belongs, weights, nodes)
