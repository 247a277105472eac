"""Layers on graphs: GAT and GIN as GraphMAE (Hou et al., 2022) has them, GCN as its authors.

A layer reads node features and edges, and gives node features. `rows` asks for some nodes only: what the others would
get is not computed. Sizes: `N` nodes, `F` width in, `D` width out, `K` heads.
"""

from abc import abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

from withstand.core.errors import ConfigError, nearest
from withstand.data.graphs.container import Graphs
from withstand.data.graphs.sparse import Pattern, product, take_rows
from withstand.models.graphs.message import attend, features_times, sum_neighbors, symmetric_weights

Norm = Literal["batch", "layer"] | None


def make_norm(kind: Norm, width: int) -> nn.Module:
    """Return a normalisation over nodes, or of each node, or none."""
    if kind not in ("batch", "layer", None):
        raise ConfigError(f"norm {kind!r} is unknown: {nearest(str(kind), ('batch', 'layer'))}, or None")
    return nn.BatchNorm1d(width) if kind == "batch" else nn.LayerNorm(width) if kind == "layer" else nn.Identity()


class GraphLayer(nn.Module):
    """One round of messages."""

    @abstractmethod
    def forward(self, graphs: Graphs, edges: Pattern, rows: Tensor | None = None) -> Tensor:
        """Return the nodes' new features `(N, D)`, or those of `rows` `(M, D)`."""


class GATLayer(GraphLayer):
    """Graph attention (Velickovic et al., 2018): every node takes a weighted mean of its neighbors, in K heads.

    Score of edge u to v: LeakyReLU(a_l . W x_u + a_r . W x_v); weights: their softmax over the edges that reach v.

    Args:
        width_in: F.
        width: D, over all heads.
        heads: K; they are concatenated.
        feature_dropout: on the input.
        attention_dropout: on the weights.
        slope: of the leaky ReLU below 0.
        residual: add the input, through a linear map where widths differ.
    """

    def __init__(
        self,
        width_in: int,
        width: int,
        heads: int = 1,
        *,
        feature_dropout: float = 0.2,
        attention_dropout: float = 0.1,
        slope: float = 0.2,
        residual: bool = False,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ConfigError(f"width {width} cannot be shared evenly by {heads} heads")
        self.heads, self.slope = heads, slope
        self.feature_dropout, self.attention_dropout = feature_dropout, attention_dropout
        # Xavier-normal with gain sqrt 2; the attention vectors as the code has them, a tensor (1, K, D / K).
        self.weight = nn.Parameter(torch.empty(width_in, width))
        self.sent = nn.Parameter(torch.empty(heads, width // heads))
        self.received = nn.Parameter(torch.empty(heads, width // heads))
        self.bias = nn.Parameter(torch.zeros(width))
        nn.init.xavier_normal_(self.weight, gain=2**0.5)
        for vector in (self.sent, self.received):
            nn.init.xavier_normal_(vector.data[None], gain=2**0.5)
        self.skip: nn.Parameter | None = None
        if residual and width_in != width:
            self.skip = nn.Parameter(nn.init.xavier_normal_(torch.empty(width_in, width), gain=2**0.5))
        self.residual = residual

    def forward(self, graphs: Graphs, edges: Pattern, rows: Tensor | None = None) -> Tensor:
        if self.heads == 1 and not self.residual and rows is not None:
            return self._late(graphs, edges, rows)
        h = features_times(graphs, self.weight, self.feature_dropout, self.training)
        by_head = h.view(-1, self.heads, h.shape[1] // self.heads)
        # Both scores of all heads by one thin product, where each head's vectors meet its own columns of h.
        vectors = torch.stack([_own(self.sent), _own(self.received)])
        sent, received = (h @ vectors.flatten(0, 1).t()).view(-1, 2, self.heads).unbind(1)
        sent, received = sent.flatten(), received.flatten()
        repeated = edges.repeated(self.heads)
        weights = attend(repeated, sent, received, self.slope, self.attention_dropout, self.training)
        out = product(repeated, weights, by_head.reshape(-1, by_head.shape[2])).view_as(h) + self.bias
        if self.residual:
            out = out + self._skipped(graphs)
        return out if rows is None else take_rows(out, rows)

    def _skipped(self, graphs: Graphs) -> Tensor:
        return graphs.dense() if self.skip is None else features_times(graphs, self.skip, 0.0, False)

    def _late(self, graphs: Graphs, edges: Pattern, rows: Tensor) -> Tensor:
        """Return one head's outputs for some nodes: the mean over neighbors comes first, the wide map after.

        The same by linearity, without a message of the output's width on every edge.
        """
        x = dropout(graphs.dense(), self.feature_dropout, self.training)
        sent, received = (x @ torch.stack([self.weight @ self.sent[0], self.weight @ self.received[0]], 1)).unbind(1)
        asked, _ = edges.take(rows)
        weights = attend(asked, sent, received[rows], self.slope, self.attention_dropout, self.training)
        return product(asked, weights, x).to(x.dtype) @ self.weight + self.bias


class GINLayer(GraphLayer):
    """Graph isomorphism layer (Xu et al., 2019), eps 0: a perceptron on the sum of a node and its neighbors.

    A node counts twice, for it is its own neighbor too: as GraphMAE was published.

    Args:
        width_in: F.
        width: D; of the hidden layer too.
        dropout: on the input.
        norm: inside the perceptron.
        hidden: width of the hidden layer, where it is not D.
        last_bias: whether the output has a bias (idle before a normalisation over nodes).
    """

    def __init__(
        self,
        width_in: int,
        width: int,
        *,
        dropout: float = 0.2,
        norm: Norm = "batch",
        hidden: int | None = None,
        last_bias: bool = True,
    ) -> None:
        super().__init__()
        hidden = width if hidden is None else hidden
        self.dropout = dropout
        self.first = nn.Linear(width_in, hidden, bias=norm != "batch")  # which would take the bias away
        self.norm, self.activation = make_norm(norm, hidden), nn.PReLU()
        self.second = nn.Linear(hidden, width, bias=last_bias)

    def forward(self, graphs: Graphs, edges: Pattern, rows: Tensor | None = None) -> Tensor:
        h = features_times(graphs, self.first.weight.t(), self.dropout, self.training)
        h = sum_neighbors(edges, h) + h  # the first map is linear: it may come before the sum
        if self.first.bias is not None:
            h = h + self.first.bias
        h = self.activation(self.norm(h))
        out: Tensor = self.second(h if rows is None else take_rows(h, rows))
        return out


class GCNLayer(GraphLayer):
    """Graph convolution (Kipf, Welling 2017): D^-1/2 (A + I) D^-1/2 X W + b.

    GraphMAE's code divides the bias, too, by the square root of the node's degree.

    Args:
        width_in: F.
        width: D.
        dropout: on the input.
    """

    def __init__(self, width_in: int, width: int, *, dropout: float = 0.2) -> None:
        super().__init__()
        self.dropout = dropout
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(width_in, width)))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, graphs: Graphs, edges: Pattern, rows: Tensor | None = None) -> Tensor:
        h = features_times(graphs, self.weight, self.dropout, self.training)
        out = product(edges, symmetric_weights(edges), h) + self.bias
        return out if rows is None else take_rows(out, rows)


class NodeLayer(GraphLayer):
    """A map of each node alone, without messages: what GraphMAE compares its decoder with.

    Args:
        width_in: F.
        width: D.
        hidden: width of a hidden layer; None for a linear map.
    """

    def __init__(self, width_in: int, width: int, *, hidden: int | None = None) -> None:
        super().__init__()
        parts: list[nn.Module] = [nn.Linear(width_in, width)]
        if hidden is not None:
            parts = [nn.Linear(width_in, hidden), nn.PReLU(), nn.Linear(hidden, width)]
        self.map = nn.Sequential(*parts)

    def forward(self, graphs: Graphs, edges: Pattern, rows: Tensor | None = None) -> Tensor:
        x = graphs.dense()
        out: Tensor = self.map(x if rows is None else take_rows(x, rows))
        return out


def _own(vectors: Tensor) -> Tensor:
    """Return rows `(K, K * D)` that hold vector k `(K, D)` at head k's columns, and 0 elsewhere."""
    heads = len(vectors)
    return (torch.eye(heads, dtype=vectors.dtype, device=vectors.device)[:, :, None] * vectors).flatten(1)
