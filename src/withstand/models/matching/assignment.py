"""Second-order matching of two graphs: a quadratic assignment problem, solved batch by batch.

Maximised over permutations p is `sum_i node[i, p_i] + sum_ef edge[e, f] [p maps the ends of e to those of f]`. The
problem is NP-hard: the search ascends from several starts, by integer-projected fixed points (Leordeanu et al., IPFP,
2009) and by the best exchange of two nodes until none helps, and says not that nothing is better. LVM-Med (2023) takes
a solver by Lagrange decomposition.

Sizes: G problems, N nodes of each graph, E edges of the first and F of the second, R starts.
"""

from dataclasses import dataclass, replace
from itertools import permutations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from withstand.core.errors import DataError

_ROUNDS = 20
_LARGEST_EXACT = 7
_GAIN = 1e-12


@dataclass(frozen=True, slots=True)
class Affinities:
    """How well nodes and edges of two graphs fit; higher is better.

    Attributes:
        node: `(G, N, N)`: of node i of the first graph and node a of the second.
        edge: `(G, E, F)`; None for problems of first order.
        first: both ends of the first graphs' edges, int64 `(G, E, 2)`.
        second: of the second graphs', `(G, F, 2)`.

    Raises:
        DataError: shapes that do not fit.
    """

    node: Tensor
    edge: Tensor | None = None
    first: Tensor | None = None
    second: Tensor | None = None

    def __post_init__(self) -> None:
        if self.node.dim() != 3 or self.node.shape[1] != self.node.shape[2]:
            raise DataError(f"node affinities are (G, N, N), not {tuple(self.node.shape)}")
        if self.edge is None:
            return
        if self.first is None or self.second is None:
            raise DataError("edge affinities need the ends of both graphs' edges")
        wanted = (len(self.node), self.first.shape[1], self.second.shape[1])
        if self.edge.shape != wanted:
            raise DataError(f"edge affinities must be {wanted}, not {tuple(self.edge.shape)}")

    def first_order(self) -> "Affinities":
        """Return the same without edges."""
        return Affinities(self.node)

    def detached(self) -> "Affinities":
        """Return the same on the CPU in float64, without gradients."""
        edge = None if self.edge is None else self.edge.detach().cpu().double()
        ends = [None if one is None else one.cpu() for one in (self.first, self.second)]
        return replace(self, node=self.node.detach().cpu().double(), edge=edge, first=ends[0], second=ends[1])


def match(affinities: Affinities, *, restarts: int = 4, seed: int = 0) -> Tensor:
    """Return the best permutation found for each problem, int64 `(G, N)`: node i goes to `found[g, i]`.

    Problems of first order are solved exactly, by the Hungarian method.

    Args:
        affinities: any device and type; the search is in float64 on the CPU.
        restarts: random starts beside the two usual ones, the first-order optimum and the fixed point.
        seed: of the random starts, the same for all problems.
    """
    given = affinities.detached()
    linear = hungarian(given.node)
    if given.edge is None:
        return linear.to(affinities.node.device)
    pairs = _dense(given)
    starts = [linear, _fixed_point(given.node, pairs)]
    generator = torch.Generator().manual_seed(seed)
    nodes = given.node.shape[1]
    starts += [torch.randperm(nodes, generator=generator).expand(len(linear), -1) for _ in range(restarts)]
    found = _exchanged(given.node, pairs, torch.stack(starts, 1))
    best = _value(given.node, pairs, found).argmax(1)
    return found[torch.arange(len(found)), best].to(affinities.node.device)


def match_exactly(affinities: Affinities) -> Tensor:
    """Return the best of all permutations, int64 `(G, N)`, of graphs of at most 7 nodes.

    Raises:
        DataError: more nodes.
    """
    given = affinities.detached()
    nodes = given.node.shape[1]
    if nodes > _LARGEST_EXACT:
        raise DataError(f"all permutations are tried of at most {_LARGEST_EXACT} nodes, not {nodes}")
    every = torch.tensor(list(permutations(range(nodes)))).expand(len(given.node), -1, -1)
    return every[torch.arange(len(given.node)), objective(given, every).argmax(1)].to(affinities.node.device)


def hungarian(node: Tensor) -> Tensor:
    """Return the permutations with the largest sum of node affinities, int64 `(G, N)`."""
    return torch.stack([torch.from_numpy(linear_sum_assignment(one.numpy(), maximize=True)[1]) for one in node])


def objective(affinities: Affinities, found: Tensor) -> Tensor:
    """Return what permutations `(G, R, N)` reach, float64 `(G, R)`."""
    given = affinities.detached()
    if given.edge is None:
        return given.node[:, None].expand(-1, found.shape[1], -1, -1).gather(3, found[..., None])[..., 0].sum(2)
    return _value(given.node, _dense(given), found)


def as_matrices(found: Tensor, like: Tensor) -> Tensor:
    """Return permutations `(G, N)` as matrices of 0 and 1, `(G, N, N)`, of another tensor's type."""
    return torch.nn.functional.one_hot(found, found.shape[1]).to(like)


def matched_edges(matrices: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Return which edges go to which, 1 where both ends do, `(G, E, F)`."""
    problems = torch.arange(len(matrices), device=matrices.device)[:, None, None]
    heads, tails = (matrices[problems, first[:, :, None, end], second[:, None, :, end]] for end in (0, 1))
    return heads * tails


def _dense(given: Affinities) -> Tensor:
    """Return pair affinities `[g, i, a, j, b]`, both orders of a pair summed, `(G, N, N, N, N)`."""
    assert given.edge is not None
    assert given.first is not None
    assert given.second is not None
    problems, nodes = given.node.shape[:2]
    i, j = given.first[:, :, None].expand(-1, -1, given.edge.shape[2], -1).unbind(3)
    a, b = given.second[:, None].expand(-1, given.edge.shape[1], -1, -1).unbind(3)
    place = ((i * nodes + a) * nodes + j) * nodes + b
    pairs = given.node.new_zeros(problems, nodes**4)
    pairs.scatter_add_(1, place.flatten(1), given.edge.flatten(1))
    pairs = pairs.view(problems, nodes, nodes, nodes, nodes)
    return pairs + pairs.permute(0, 3, 4, 1, 2)


def _value(node: Tensor, pairs: Tensor, found: Tensor) -> Tensor:
    problem, row = _places(found)
    linear = node[problem, row, found].sum(2)
    own = pairs[problem[..., None], row[..., None], found[..., None], row[:, :, None], found[:, :, None]]
    return linear + own.sum((2, 3)) / 2


def _places(found: Tensor) -> tuple[Tensor, Tensor]:
    problems, starts, nodes = found.shape
    problem = torch.arange(problems).view(-1, 1, 1).expand(problems, starts, nodes)
    return problem, torch.arange(nodes).expand(problems, starts, nodes)


def _fixed_point(node: Tensor, pairs: Tensor) -> Tensor:
    """Return where integer-projected fixed points lead from the uniform matrix, int64 `(G, N)`."""
    problems, nodes = node.shape[:2]
    flat = pairs.view(problems, nodes**2, nodes**2)
    x = torch.full_like(node, 1 / nodes).flatten(1)
    found = hungarian(node)
    for _ in range(_ROUNDS):
        slope = node.flatten(1) + torch.bmm(flat, x[:, :, None])[:, :, 0]
        step = hungarian(slope.view_as(node))
        way = as_matrices(step, node).flatten(1) - x
        rise = (slope * way).sum(1)
        bend = (torch.bmm(flat, way[:, :, None])[:, :, 0] * way).sum(1)
        length = torch.where(bend < 0, (-rise / bend.clamp_max(-1e-300)).clamp(max=1), 1)
        if torch.equal(step, found) and not bool((way * length[:, None]).any()):
            break
        x, found = x + length[:, None] * way, step
    return hungarian(x.view_as(node))


def _exchanged(node: Tensor, pairs: Tensor, found: Tensor) -> Tensor:
    """Return permutations `(G, R, N)` after the best exchanges of two nodes, until none raises the objective."""
    problem, row = _places(found)
    found = found.clone()
    nodes = node.shape[1]
    every = torch.arange(nodes)
    i, j = row[..., None], row[:, :, None]
    whole = problem[..., None]
    upper = torch.triu(torch.ones(nodes, nodes, dtype=torch.bool), 1)
    for _ in range(nodes**2):
        a, b = found[..., None], found[:, :, None]
        # What node i would have of all other nodes' partners if it went to each place: (G, R, i, place).
        others = pairs[whole[..., None], i[..., None], every[None, None, None, :, None], row[:, :, None, None],
                       found[:, :, None, None]].sum(4)  # fmt: skip
        now = others.gather(3, found[..., None])[..., 0]
        ahead = others.gather(3, found[:, :, None].expand_as(others))  # of node i at the place of node j
        own = node[problem, row, found]
        moved = node[whole, i, b]
        gain = moved + moved.mT - own[..., None] - own[:, :, None]
        gain = gain + ahead - pairs[whole, i, b, j, b] + (ahead - pairs[whole, i, b, j, b]).mT
        gain = gain + pairs[whole, i, b, j, a] - now[..., None] - now[:, :, None] + pairs[whole, i, a, j, b]
        gain = gain - (pairs[whole, i, b, i, a] + pairs[whole, j, a, j, b])  # a node has no edge to itself
        best, place = gain.masked_fill(~upper, -torch.inf).flatten(2).max(2)
        better = best > _GAIN
        if not bool(better.any()):
            break
        one, other = place // nodes, place % nodes
        first, second = (found.gather(2, end[..., None]) for end in (one, other))
        swapped = found.scatter(2, one[..., None], second).scatter(2, other[..., None], first)
        found = torch.where(better[..., None], swapped, found)
    return found
