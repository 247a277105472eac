"""Which records belong together, from decisions on pairs of them.

A single false pair glues two entities in connected components; communities and cliques hold against it.
"""

from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from withstand.core.errors import ConfigError, DataError, MissingExtra, nearest

SetRule: TypeAlias = Literal["louvain", "components", "cliques"]
"""How pairs become sets: communities by modularity, whatever is connected, or maximal cliques, which may overlap."""
Sets: TypeAlias = tuple[tuple[int, ...], ...]
"""Records that belong together, in rising order; a record alone is a set of one."""
MOST_CLIQUES = 100_000


def discover_sets(
    count: int,
    left: npt.NDArray[np.int64],
    right: npt.NDArray[np.int64],
    weight: npt.NDArray[np.float64] | None = None,
    *,
    rule: SetRule = "louvain",
    seed: int = 0,
) -> Sets:
    """Return the sets that pairs of `count` records form; a record in no pair is a set of one.

    Args:
        count: of records, named by 0 to count - 1.
        left: the first record of each pair, int64 `(M,)`.
        right: the second.
        weight: how sure each pair is, above 0; communities go by it. None for 1 each.
        rule: "louvain" communities of each connected component, by modularity of resolution 1 there; "components";
            "cliques".
        seed: of Louvain's order.

    Raises:
        ConfigError: an unknown rule.
        DataError: a pair outside the records or of one record with itself; more than 100,000 cliques.
    """
    if rule not in get_args(SetRule):
        raise ConfigError(f"there is no rule {rule!r} of sets: {nearest(rule, get_args(SetRule))}")
    if len(left) and (min(left.min(), right.min()) < 0 or max(left.max(), right.max()) >= count):
        raise DataError(f"a pair names a record outside 0 to {count - 1}")
    if bool((left == right).any()):
        raise DataError(f"record {int(left[left == right][0])} is paired with itself")
    graph = coo_matrix((np.ones(len(left)), (left, right)), shape=(count, count))
    label = connected_components(graph, directed=False)[1]
    order = np.argsort(label, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(label[order])) + 1) if count else []
    if rule == "components":
        return _sorted(part.tolist() for part in parts)
    sure = np.ones(len(left)) if weight is None else weight
    found: list[list[int]] = []
    of_part = label[left] if len(left) else label[:0]
    by_part = np.argsort(of_part, kind="stable")
    ends = np.searchsorted(of_part[by_part], np.arange(len(parts) + 1))
    for number, part in enumerate(parts):
        if len(part) < 3:
            found.append(part.tolist())
            continue
        own = by_part[ends[number] : ends[number + 1]]
        edges = list(zip(left[own].tolist(), right[own].tolist(), sure[own].tolist(), strict=True))
        found.extend(_split(part.tolist(), edges, rule, seed))
        if len(found) > MOST_CLIQUES:
            raise DataError(
                f"the pairs form more than {MOST_CLIQUES:,} cliques: use communities, or a higher threshold"
            )
    return _sorted(found)


def _split(members: list[int], edges: list[tuple[int, int, float]], rule: SetRule, seed: int) -> list[list[int]]:
    """Return the sets of one connected component of three records or more."""
    try:
        import networkx
    except ImportError as error:
        raise MissingExtra(f"sets by {rule}", "networkx", "records") from error
    graph = networkx.Graph()
    graph.add_nodes_from(members)
    graph.add_weighted_edges_from(edges)
    if rule == "cliques":
        found = []
        for clique in networkx.find_cliques(graph):
            found.append(list(clique))
            if len(found) > MOST_CLIQUES:
                break
        return found
    return [list(one) for one in networkx.community.louvain_communities(graph, weight="weight", seed=seed)]


def _sorted(sets: Iterable[Iterable[int]]) -> Sets:
    return tuple(sorted(tuple(sorted(one)) for one in sets))


def set_similarity(true: Sequence[Sequence[int]], found: Sequence[Sequence[int]]) -> float:
    """Return how alike two collections of sets are, 1 where they are equal.

    The one-to-one assignment of true to found sets with the largest sum of Jaccard indices, over the larger number of
    sets.

    Raises:
        DataError: there are no sets, or one is empty.
    """
    if not true or not found or not all(true) or not all(found):
        raise DataError("set similarity needs sets, and none of them empty")
    holding: dict[int, list[int]] = {}
    for number, one in enumerate(found):
        for member in one:
            holding.setdefault(member, []).append(number)
    overlap: dict[tuple[int, int], int] = {}
    for number, one in enumerate(true):
        for member in one:
            for other in holding.get(member, ()):
                overlap[number, other] = overlap.get((number, other), 0) + 1
    # Sets assign among themselves where they touch: a matrix of each connected part, not of all by all.
    rows = np.array([pair[0] for pair in overlap], dtype=np.int64)
    columns = np.array([pair[1] for pair in overlap], dtype=np.int64)
    shared = np.array(list(overlap.values()), dtype=np.float64)
    sizes = np.array([len(one) for one in true])[rows] + np.array([len(one) for one in found])[columns]
    jaccard = shared / (sizes - shared)
    nodes = len(true) + len(found)
    label = connected_components(coo_matrix((shared, (rows, columns + len(true))), shape=(nodes, nodes)), False)[1]
    total = 0.0
    for part in np.unique(label[rows]):
        own = label[rows] == part
        ours, row = np.unique(rows[own], return_inverse=True)
        theirs, column = np.unique(columns[own], return_inverse=True)
        matrix = np.zeros((len(ours), len(theirs)))
        matrix[row, column] = jaccard[own]
        total += float(matrix[linear_sum_assignment(matrix, maximize=True)].sum())
    return total / max(len(true), len(found))
