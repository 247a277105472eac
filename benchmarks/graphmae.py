"""GraphMAE on Cora, published setting: our engine's epochs against torch-geometric's layers and the authors' code.

    python -m benchmarks.graphmae [RESULTS.jsonl] [--authors FOLDER] [--epochs 12]

The peer is the same autoencoder of torch-geometric's `GATConv` with dense features. With a checkout of the authors'
torch-geometric branch (THUDM/GraphMAE, branch `pyg`) their own code runs too. Every side runs in processes of its own,
in turns; an epoch is the least of all. Ours is timed in the engine, with logs and gauges at every epoch. Memory is the
resident set's high-water mark of the whole process.
"""

import argparse
import itertools
import json
import resource
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

FEATURES, HIDDEN, HEADS = 1433, 512, 4
ROUNDS = 2


def ours(epochs: int) -> None:
    """Print the figures of `withstand train graphmae`, by its own clock."""
    from withstand.engine.launch import train
    from withstand.recipes.masked import graphmae

    experiment = graphmae.experiment(data="cora", epochs=epochs)
    with TemporaryDirectory() as folder:
        run = train(experiment, Path(folder) / "run", quiet=True)
        lines = [json.loads(line) for line in run.metrics_path.read_text().splitlines()]
    laps = [after["seconds"] - before["seconds"] for before, after in itertools.pairwise(lines)]
    tell(laps[1:])


def timed(step: Callable[[], None], epochs: int) -> None:
    laps = []
    for _ in range(epochs):
        start = time.perf_counter()
        step()
        laps.append(time.perf_counter() - start)
    tell(laps[2:])


def tell(laps: list[float]) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"epoch": min(laps), "peak": used.ru_maxrss / 2**20}))


def graph() -> tuple[Tensor, Tensor]:
    from withstand.data.graphs.named import NamedGraph

    whole = NamedGraph("cora").graph()
    return whole.dense(), torch.stack([whole.edges.column.long(), whole.edges.row])


def geometric(epochs: int) -> None:
    from torch_geometric.nn import GATConv

    x, edges = graph()
    settings = {"dropout": 0.1, "add_self_loops": False}
    first, second = (GATConv(a, HIDDEN // HEADS, HEADS, **settings) for a in (FEATURES, HIDDEN))
    bridge, decoder = nn.Linear(HIDDEN, HIDDEN, bias=False), GATConv(HIDDEN, FEATURES, 1, **settings)
    acts, token, drop = nn.ModuleList([nn.PReLU(), nn.PReLU()]), nn.Parameter(torch.zeros(FEATURES)), nn.Dropout(0.2)
    modules = nn.ModuleList([first, second, bridge, decoder, acts])
    adam = torch.optim.Adam([*modules.parameters(), token], 1e-3, weight_decay=2e-4)

    def step() -> None:
        order = torch.randperm(len(x))
        masked = order[: len(x) // 2]
        replaced, blank = masked[: len(masked) // 20], masked[len(masked) // 20 :]
        seen = x.clone()
        seen[blank] = 0
        seen[replaced] = x[torch.randperm(len(x))[: len(replaced)]]
        seen = seen.index_add(0, blank, token.expand(len(blank), -1))
        h = acts[1](second(drop(acts[0](first(drop(seen), edges))), edges))
        codes = bridge(h)
        codes = codes.index_fill(0, masked, 0.0)
        told = decoder(drop(codes), edges)[masked]
        loss = (1 - torch.cosine_similarity(told, x[masked])).pow(3).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()

    timed(step, epochs)


def authors(epochs: int, folder: Path) -> None:
    sys.path.insert(0, str(folder))
    sys.modules.setdefault("tensorboardX", types.SimpleNamespace(SummaryWriter=object))  # type: ignore[arg-type]
    from graphmae.models.edcoder import PreModel

    x, edges = graph()
    model = PreModel(
        in_dim=FEATURES, num_hidden=HIDDEN, num_layers=2, nhead=HEADS, nhead_out=1, activation="prelu", feat_drop=0.2,
        attn_drop=0.1, negative_slope=0.2, residual=False, norm=None, mask_rate=0.5, encoder_type="gat",
        decoder_type="gat", loss_fn="sce", replace_rate=0.05, alpha_l=3,
    )  # fmt: skip
    adam = torch.optim.Adam(model.parameters(), 1e-3, weight_decay=2e-4)

    def step() -> None:
        model.train()
        loss, _ = model(x, edges)
        adam.zero_grad()
        loss.backward()
        adam.step()

    timed(step, epochs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="?", type=Path)
    parser.add_argument("--authors", type=Path)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--side", choices=["ours", "torch-geometric", "authors"])
    arguments = parser.parse_args()
    if arguments.side is not None:
        sides = {"ours": ours, "torch-geometric": geometric}
        call = sides.get(arguments.side)
        call(arguments.epochs) if call else authors(arguments.epochs, arguments.authors)
        return
    names = ["ours", "torch-geometric", *(["authors"] if arguments.authors else [])]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(ROUNDS):
        for name in names:
            command = [sys.executable, "-W", "ignore", "-m", "benchmarks.graphmae", "--side", name]
            command += ["--epochs", str(arguments.epochs)]
            command += ["--authors", str(arguments.authors)] if arguments.authors else []
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found[name].append(json.loads(done.stdout.splitlines()[-1]))
    best = {name: min(one["epoch"] for one in runs) for name, runs in found.items()}
    peak = {name: max(one["peak"] for one in runs) for name, runs in found.items()}
    print("GraphMAE on Cora, published setting, seconds an epoch and peak GiB")
    for name in names:
        print(f"  {name:20} {best[name]:7.3f}   {peak[name]:5.2f}   {best[name] / best['ours']:5.2f}x")
    if arguments.results is not None:
        peers = {name: 1 / best[name] for name in names if name != "ours"}
        line = {
            "work": "GraphMAE on Cora, epochs a second",
            "ours": 1 / best["ours"],
            "peers": peers,
            "ratio": {name: 1 / best["ours"] / rate for name, rate in peers.items()},
        }
        with arguments.results.open("a") as file:
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
