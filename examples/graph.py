"""A graph: learn from its nodes' features and edges, then find which nodes are alike.

python examples/graph.py
"""

from pathlib import Path

import networkx as nx
import numpy as np

import withstand as ws
from withstand.data.graphs.foreign import from_networkx
from withstand.evaluation.features import Features


def village(groups: int = 3, size: int = 30, seed: int = 0) -> nx.Graph:
    """Return a made-up graph: who knows whom in groups of people, with five features each."""
    graph = nx.planted_partition_graph(groups, size, 0.3, 0.02, seed=seed)
    rng = np.random.default_rng(seed)
    for node, facts in graph.nodes(data=True):
        facts["x"] = (rng.random(5) + np.eye(5)[node // size]).tolist()
        facts["y"] = node // size
    return graph


def main(out: Path = Path("runs/village"), epochs: int = 100) -> Features:
    """Learn, probe, and return every node's features."""
    source = from_networkx(village(), features="x", label="y")  # the label only judges
    run = ws.train("graphmae", source, out=out, epochs=epochs, options={"hidden": 32})
    for finding in run.probe():
        print(finding)
    print(run.report())
    return run.embed()


if __name__ == "__main__":
    print(main())
