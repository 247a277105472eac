"""T-JEPA on Adult: rows a second of our engine against the authors' code, same sizes, same batch, same machine.

    WITHSTAND_DATA=... python -m benchmarks.t_jepa [results.jsonl] --peer CHECKOUT [--epochs 3] [--published]
        [--device cuda]

On a CPU rates are by seconds of processor time, which a busy machine does not spoil: run it with OMP_NUM_THREADS=1. On
a GPU they are by the clock.
CHECKOUT is a clone of github.com/jose-melo/t-jepa at commit 98dda99, which needs `pip install tabulate`. Its own
collator, encoder, predictor and order of steps run here; its probes, logs and early stopping do not. Without --peer
only ours runs. --published takes the launch script's network (16 layers each) in place of the default one.
"""

import argparse
import contextlib
import copy
import io
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import torch
from torch.utils.data import DataLoader, Dataset

from withstand.data.derived.subset import Subset
from withstand.data.tables.source import TableSource
from withstand.engine.launch import train
from withstand.recipes.masked.t_jepa import SETUP, experiment

BATCH = 512
SMALL = {"hidden": 64, "layers": 4, "heads": 4, "feedforward": 128, "predictor": (32, 2, 4, 128)}
PUBLISHED = {"hidden": 64, "layers": 16, "heads": 2, "feedforward": 64, "predictor": (16, 16, 4, 256)}


def ours(sizes: dict, epochs: int, device: str) -> float:
    """Return the rate of `withstand train t-jepa`: a long run less a short one, so that starting up cancels."""
    rows, long = _run(sizes, epochs, None, device)
    few, short = _run(sizes, 1, 3 * BATCH, device)
    return (rows - few) / (long - short)


def _seconds(device: str) -> float:
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def _run(sizes: dict, epochs: int, rows: int | None, device: str) -> tuple[int, float]:
    """Return the rows that a run passes over, and its seconds; lines are logged as often as the run's length asks."""
    hidden, layers, heads, _ = sizes["predictor"]
    named = {name: sizes[name] for name in ("hidden", "layers", "heads", "feedforward")}
    setup = replace(SETUP, **named, epochs=epochs)
    whole = experiment(setup, predictor_hidden=hidden, predictor_layers=layers, predictor_heads=heads)
    if rows is not None:
        whole = replace(whole, source=Subset(whole.source, range(rows)))
    whole = replace(whole, test=None, plan=replace(whole.plan, device=device))
    with TemporaryDirectory() as folder:
        start = _seconds(device)
        train(whole, Path(folder) / "run", quiet=True)
        return whole.steps_per_epoch() * epochs * BATCH, _seconds(device) - start


class _Rows(Dataset):
    """Rows as the authors' dataset gives them: columns as they are in the table, categories as codes, the label."""

    def __init__(self, source: TableSource) -> None:
        coded = source._coded
        self.x = torch.cat([coded.values, coded.codes.float()], 1)
        self.y = source.labels

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, place: int):
        return self.x[place], self.y[place]


def theirs(checkout: Path, sizes: dict, source: TableSource, steps: int, where: str) -> float:
    """Return the rate of the authors' loop; the first two steps are not timed."""
    sys.path.insert(0, str(checkout))
    with contextlib.redirect_stdout(io.StringIO()):
        from src.encoder import Encoder
        from src.mask import MaskCollator
        from src.predictors import Predictors
        from src.utils.train_utils import apply_masks_from_idx

        numeric, schema = len(source.schema.numeric), source.schema
        cards = [(numeric + place, column.slots) for place, column in enumerate(schema.categorical)]
        columns = len(schema.columns)
        width, layers, heads, feedforward = sizes["predictor"]
        device = torch.device(where)
        context = Encoder(
            list(range(numeric)), cards, sizes["hidden"], sizes["layers"], sizes["heads"], 0.0, 1e-5, 1.0, False, False,
            sizes["feedforward"], device, SimpleNamespace(n_cls_tokens=1, model_act_func="relu"),
        ).to(device)  # fmt: skip
        target = copy.deepcopy(context)
        predictor = Predictors(
            "transformer", sizes["hidden"], width, columns, layers, heads, 0.0, 1e-5, "relu", device, cards, feedforward
        ).to(device)
        collator = MaskCollator(False, 0.136, 0.368, 0.156, 0.622, 4, 1, columns, cards)
    loader = DataLoader(_Rows(source), BATCH, collate_fn=collator)
    optimizer = torch.optim.AdamW([*context.parameters(), *predictor.parameters()], lr=1e-3)
    loss_of, start = torch.nn.MSELoss(), 0.0
    for number, (batch, seen, hidden) in enumerate(loader):
        if number == 2:
            start = _seconds(where)
        if number == steps:
            break
        batch, seen, hidden = _there(batch, device), _there(seen, device), _there(hidden, device)
        optimizer.zero_grad()
        with torch.no_grad():
            wanted = apply_masks_from_idx(target(batch), hidden)
        loss_of(predictor(context(batch, seen), seen, hidden), wanted).backward()
        optimizer.step()
        with torch.no_grad():
            for ahead, behind in zip(context.parameters(), target.parameters(), strict=True):
                behind.data.mul_(0.996).add_(0.004 * ahead.detach().data)
    return (steps - 2) * BATCH / (_seconds(where) - start)


def _there(held: object, device: torch.device) -> object:
    """Return tensors, or lists of them, on a device."""
    return [_there(one, device) for one in held] if isinstance(held, list | tuple) else held.to(device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="?", type=Path)
    parser.add_argument("--peer", type=Path)
    parser.add_argument("--steps", type=int, default=24, help="of the authors' code")
    parser.add_argument("--epochs", type=int, default=3, help="of ours, 63 steps each")
    parser.add_argument("--published", action="store_true")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    arguments = parser.parse_args()
    sizes = PUBLISHED if arguments.published else SMALL
    try:
        source = TableSource("adult", part="train")
    except Exception as error:
        print(f"skipped: {error}")
        return
    mine, peer = 0.0, 0.0
    for _ in range(2):  # in turns, and the best of each: the machine's speed drifts
        mine = max(mine, ours(sizes, arguments.epochs, arguments.device))
        if arguments.peer is not None:
            peer = max(peer, theirs(arguments.peer, sizes, source, arguments.steps, arguments.device))
    name = f"T-JEPA on Adult, batch {BATCH}, {'published' if arguments.published else 'default'} network"
    name += "" if arguments.device == "cpu" else f", {torch.cuda.get_device_name()}"
    print(f"{name}: {mine:,.0f} rows/s" + (f"; the authors' code {peer:,.0f}, {mine / peer:.2f}x" if peer else ""))
    if arguments.results is not None:
        line = {
            "work": name,
            "ours": mine,
            "peers": {"the authors' code": peer},
            "ratio": {"the authors' code": mine / peer} if peer else {},
        }
        with arguments.results.open("a") as file:
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
