"""Small graphs for tests; importable as `graphs` (see pythonpath in pyproject.toml)."""

from dataclasses import replace

import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.random import Draws
from withstand.data.graphs.container import Graphs
from withstand.data.graphs.sets import GraphSet
from withstand.data.graphs.source import GraphSource
from withstand.views.graph import GraphViews, MaskNodes


def random_edges(nodes: int, count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, nodes, (2, count), generator=generator)


def random_features(nodes: int, features: int, seed: int = 0, *, sparse: bool = False) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(nodes, features, generator=generator)
    return x * (torch.rand(nodes, features, generator=generator) < 0.1) if sparse else x


def graph(nodes: int = 30, features: int = 6, seed: int = 0, *, sparse: bool = False) -> GraphSource:
    labels = torch.arange(nodes) % 3
    third = nodes // 3
    parts = {"train": range(third), "validation": range(third, 2 * third), "test": range(2 * third, nodes)}
    return GraphSource(
        random_edges(nodes, 3 * nodes, seed),
        random_features(nodes, features, seed, sparse=sparse),
        labels,
        parts={name: list(rows) for name, rows in parts.items()},
    )


def graph_set(count: int = 8, nodes: int = 5, features: int = 4, seed: int = 0) -> GraphSet:
    inside = random_edges(nodes, 2 * nodes * count, seed)
    offset = torch.arange(count).repeat_interleave(2 * nodes) * nodes
    member = torch.arange(count).repeat_interleave(nodes)
    return GraphSet(inside + offset, member, random_features(count * nodes, features, seed), torch.arange(count) % 2)


def masked(batch: Batch, rate: float = 0.5, replace: float = 0.2, seed: int = 0) -> Batch:
    return GraphViews((MaskNodes(rate, replace),))(batch, Draws(seed, batch.index))


def hidden_by_place(batch: Batch) -> Batch:
    """Hide the first and third node of each graph, the third by the fourth's features: alike in any part of a batch."""
    graphs = Graphs.of(batch.x)
    member = graphs.membership
    first = torch.searchsorted(member, torch.arange(graphs.count))
    rows = torch.arange(graphs.size)
    rows[first], rows[first + 2] = -1, first + 3
    x = graphs.dense()
    hidden = torch.cat([first, first + 2]).sort().values
    view = replace(
        graphs, x=torch.where(rows[:, None] < 0, 0, x[rows.clamp_min(0)]), masked=hidden, blank=first, clean=x[hidden]
    )
    return batch.with_views(view.as_samples())
