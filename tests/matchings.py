"""Random problems of matching, for tests."""

import torch

from withstand.models.matching.assignment import Affinities
from withstand.models.matching.graphs import nearest_edges


def problems(count: int, nodes: int, seed: int = 0, neighbours: int = 2) -> Affinities:
    generator = torch.Generator().manual_seed(seed)
    first, second = (nearest_edges(torch.randn(count, nodes, 3, generator=generator), neighbours) for _ in range(2))
    edges = nodes * neighbours
    return Affinities(
        torch.randn(count, nodes, nodes, generator=generator).double(),
        torch.randn(count, edges, edges, generator=generator).double(),
        first,
        second,
    )
