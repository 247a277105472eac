"""Mini-batches by neighbor sampling: GraphMAE on a synthetic graph of 1 M nodes and 10 M edges, peak memory and rate.

    python -m benchmarks.neighbors [RESULTS.jsonl] [--nodes 1000000] [--edges 10000000] [--steps 20]

Ends of edges are drawn by a law with a long tail, so that some nodes have thousands of neighbors. The engine trains as
`withstand train graphmae --batch 512 --neighbors 10` does; memory is the process's high-water mark, from the drawing of
edges on. The bar is 6 GiB.
"""

import argparse
import json
import resource
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from withstand.data.derived.subset import Subset
from withstand.data.graphs.source import GraphSource
from withstand.engine.launch import train
from withstand.recipes.masked import graphmae

BATCH, FEATURES, HIDDEN, NEIGHBORS = 512, 64, 256, 10
BAR = 6.0


def peak() -> float:
    """Return the process's high-water mark, GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def synthetic(nodes: int, edges: int) -> GraphSource:
    """Return a graph whose ends are `nodes * u^2`: the k-th node's share of edges falls as 1 / sqrt(k)."""
    draw = np.random.default_rng(0)
    ends = (draw.random((2, edges)) ** 2 * nodes).astype(np.int64)
    return GraphSource(ends, draw.standard_normal((nodes, FEATURES), dtype=np.float32) + 0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="?", type=Path)
    parser.add_argument("--nodes", type=int, default=1_000_000)
    parser.add_argument("--edges", type=int, default=10_000_000)
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    start = time.perf_counter()
    source = synthetic(arguments.nodes, arguments.edges)
    most = int(source.graph().edges.lengths.max()) - 1
    print(f"{source.counts}; at most {most:,} neighbors; {time.perf_counter() - start:.0f} s, {peak():.2f} GiB")
    whole = graphmae.experiment(data=source, batch=BATCH, neighbors=NEIGHBORS, hidden=HIDDEN, epochs=1)
    some = Subset(
        source, torch.randperm(len(source), generator=torch.Generator().manual_seed(0))[: arguments.steps * BATCH]
    )
    with TemporaryDirectory() as folder:
        start = time.process_time()
        run = train(replace(whole, source=some, test=None), Path(folder) / "run", quiet=True)
        seconds = time.process_time() - start
        lines = [json.loads(line) for line in run.metrics_path.read_text().splitlines()]
    rate = arguments.steps * BATCH / seconds
    print(
        f"{arguments.steps} steps of {BATCH} nodes, {NEIGHBORS} neighbors at each of 2 hops, width {HIDDEN}: "
        f"{rate:,.0f} nodes a second of processor time, loss {lines[0]['loss']:.3f} to {lines[-1]['loss']:.3f}, "
        f"peak {peak():.2f} GiB (bar {BAR:g})"
    )
    if arguments.results is not None:
        with arguments.results.open("a") as file:
            line = {"work": "GraphMAE by neighbor sampling, 1 M nodes, 10 M edges", "ours": rate, "peak": peak()}
            file.write(json.dumps(line) + "\n")
    if peak() > BAR:
        raise SystemExit(f"peak memory {peak():.2f} GiB is above {BAR:g}")


if __name__ == "__main__":
    main()
