"""What the graph layers share: products with sparse features, attention over edges, dropout of either kind of input.

Sizes: `N` nodes, `F` features, `D` width, `K` heads, `E` edges.
"""

import torch
from torch import Tensor
from torch.nn.functional import dropout, leaky_relu

from withstand.data.graphs.container import Graphs
from withstand.data.graphs.sparse import Pattern, Sparse, product


def features_times(graphs: Graphs, weight: Tensor, rate: float, training: bool) -> Tensor:
    """Return the nodes' features after dropout, times `weight` `(F, D)`: `(N, D)`.

    Sparse features are never made dense: dropout leaves zeros where they are, so it need only draw for the others.
    Blank rows hold the learnt vector, each with a dropout of its own.
    """
    if not isinstance(graphs.x, Sparse):
        return dropout(graphs.dense().to(weight.dtype), rate, training) @ weight
    out = product(graphs.x.pattern, dropout(graphs.x.values, rate, training), weight)
    if graphs.fill is None or graphs.blank is None:
        return out
    filled = dropout(graphs.fill.expand(len(graphs.blank), -1), rate, training) @ weight
    return out.index_copy(0, graphs.blank, filled.to(out.dtype))  # blank rows have no entries


def attend(edges: Pattern, sent: Tensor, received: Tensor, slope: float, rate: float, training: bool) -> Tensor:
    """Return attention over the edges that reach each node, `(E,)`, with dropout (Velickovic et al., 2018).

    Args:
        edges: rows are the nodes that receive.
        sent: the score of each node as a source, `(N,)`.
        received: the score of each node as a target, one for each row of `edges`.
        slope: of the leaky ReLU below 0.
        rate: of the dropout on attention.
        training: whether there is dropout.
    """
    target = edges.row
    wide = torch.promote_types(sent.dtype, torch.float32)
    scores = leaky_relu(sent.to(wide)[edges.column.long()] + received.to(wide)[target], slope)
    if edges.weight is not None:
        scores = scores + edges.weight.to(wide).log()  # w edges that score alike: w times the exponential
    with torch.no_grad():
        top = scores.new_full((edges.rows,), -torch.inf).scatter_reduce(0, target, scores, "amax")
    weights = (scores - top[target]).exp()
    sums = weights.new_zeros(edges.rows).index_add(0, target, weights)
    return dropout(weights / sums[target], rate, training)


def sum_neighbors(edges: Pattern, x: Tensor) -> Tensor:
    """Return the sum of the features of each node's neighbors, itself among them, `(N, D)`."""
    return product(edges, edges.counts(), x)


def symmetric_weights(edges: Pattern) -> Tensor:
    """Return w / sqrt(d_u d_v) of each edge of weight w, `(E,)`; d adds the weights that reach a node, its own too."""
    if edges.weight is None:
        degree = edges.lengths.clamp_min(1).double()
        return (degree[edges.row] * degree[edges.column.long()]).rsqrt().float()
    weight = edges.weight.double()
    degree = weight.new_zeros(edges.rows).index_add(0, edges.row, weight)
    return (weight * (degree[edges.row] * degree[edges.column.long()]).rsqrt()).float()
