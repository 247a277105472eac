"""Cheap classifiers that spread labels over a graph: harmonic label propagation, iterative classification.

Sizes: `N` nodes, `C` classes. Labels are int64 `(N,)`, -1 where there is none.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from withstand.core.errors import DataError
from withstand.data.graphs.sparse import Pattern, product
from withstand.data.graphs.structure.hops import FAR, hops_from


def propagate_labels(edges: Pattern, labels: Tensor, classes: int) -> Tensor:
    """Return class shares `(N, C)` that are harmonic (Zhu, Ghahramani, Lafferty 2003).

    At labelled nodes they are the labels, elsewhere the mean over the neighbors; nodes that no label reaches get the
    labels' own shares.

    Raises:
        DataError: no node has a label.
    """
    from scipy.sparse import csr_matrix
    from scipy.sparse.linalg import splu

    known = labels >= 0
    if not bool(known.any()):
        raise DataError("labels cannot be propagated: no node has one")
    shares = one_hot(labels.clamp_min(0), classes).double() * known[:, None]
    prior = shares.sum(0) / known.sum()
    reached = hops_from(edges, known.nonzero()[:, 0]).amin(1) < FAR
    free = (reached & ~known).nonzero()[:, 0].numpy()
    apart = (edges.row != edges.column).numpy()
    row, column = edges.row.numpy()[apart], edges.column.long().numpy()[apart]
    adjacency = csr_matrix((edges.counts().double().numpy()[apart], (row, column)), shape=(len(labels), len(labels)))
    if len(free):
        degree = np.asarray(adjacency[free].sum(1)).ravel()
        system = csr_matrix((degree, (range(len(free)), range(len(free))))) - adjacency[free][:, free]
        right = adjacency[free] @ shares.numpy()
        shares[torch.from_numpy(free)] = torch.from_numpy(splu(system.tocsc()).solve(right))
    shares[~reached] = prior
    return shares.float()


def classify_iteratively(edges: Pattern, features: Tensor, labels: Tensor, classes: int, *, rounds: int = 10) -> Tensor:
    """Return class shares `(N, C)` by logistic regression on a node's features and its neighbors' labels.

    Begins with a classifier of features alone; then neighbors' labels are counted, true or predicted, and nodes are
    classified anew, until no prediction changes (iterative classification, Sen et al., 2008).

    Args:
        edges: of the graph.
        features: `(N, F)`.
        labels: of some nodes.
        classes: C.
        rounds: at most.
    """
    from sklearn.linear_model import LogisticRegression

    known = labels >= 0
    if len(torch.unique(labels[known])) < 2:
        raise DataError("iterative classification needs labelled nodes of at least two classes")
    ones = (edges.row != edges.column).float()

    def counted(current: Tensor) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        counts = product(edges, ones, one_hot(current, classes).float())
        near = counts / counts.sum(1, keepdim=True).clamp_min(1)
        return torch.cat([features, near], 1).numpy()

    def shares_of(model: LogisticRegression, x: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> Tensor:
        found = torch.zeros(len(labels), classes)
        found[:, torch.from_numpy(model.classes_)] = torch.from_numpy(model.predict_proba(x)).float()
        return found

    y = labels[known].numpy()
    local = LogisticRegression(max_iter=1000).fit(features[known].numpy(), y)
    shares = shares_of(local, features.numpy())
    current = torch.where(known, labels, shares.argmax(1))
    for _ in range(rounds):
        x = counted(current)
        model = LogisticRegression(max_iter=1000).fit(x[known.numpy()], y)
        shares = shares_of(model, x)
        changed = torch.where(known, labels, shares.argmax(1))
        if torch.equal(changed, current):
            break
        current = changed
    return torch.where(known[:, None], one_hot(labels.clamp_min(0), classes).float(), shares)


def context_shares(edges: Pattern, labels: Tensor, classes: int) -> Tensor:
    """Return the shares of classes round each node, `(N, C)` (SelfTask, Jin et al., 2020).

    Neighbors count once, and so do all that lie two steps away, so that a node that is both counts twice; a node does
    not count for itself. A node without neighbors has zeros. Counted on the CPU.
    """
    there = labels.device
    edges, labels = edges.to("cpu"), labels.cpu()
    plain = edges.keep(edges.row != edges.column)
    ones = torch.ones(len(plain))
    hot = one_hot(labels, classes).float()
    near = product(plain, ones, hot)
    second = _two_steps(plain)
    counts = near + product(second, torch.ones(len(second)), hot)
    return (counts / counts.sum(1, keepdim=True).clamp_min(1)).to(there)


def _two_steps(plain: Pattern) -> Pattern:
    """Return the pattern of pairs that two edges join, without those from a node to itself."""
    from scipy.sparse import csr_matrix

    ones = np.ones(len(plain), dtype=np.float32)
    matrix = csr_matrix((ones, plain.column.numpy(), plain.start.numpy()), shape=(plain.rows, plain.columns))
    square = (matrix @ matrix).tocoo()
    apart = square.row != square.col
    row, column = (torch.from_numpy(ends[apart].astype(np.int64)) for ends in (square.row, square.col))
    return Pattern.of(row, column, plain.rows, plain.columns)
