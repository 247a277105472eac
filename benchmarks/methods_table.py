"""Every joint-embedding method on one budget: same data, network, epochs, batch and probes, three seeds.

    python -m benchmarks.methods_table [results.jsonl] [--out docs/benchmarks] [--methods simclr byol] [--fresh]

Each method runs its recipe as it is but for network and budget, so learning rates, views and heads are the recipe's.
A finding a method is stored after each seed, and what is stored under the same settings is not run again: the same
command goes on where it was stopped. `python tools/benchmarks_page.py` makes docs/benchmarks.md of them.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from types import ModuleType

import torch

from withstand.claims.protocol.measures import accuracies, trained
from withstand.claims.protocol.reproduction import code_digest
from withstand.core.errors import WithstandError
from withstand.core.findings.finding import Cell, Finding, Measure, Table
from withstand.core.part import Tree
from withstand.core.random import isolated
from withstand.engine.experiment import Experiment
from withstand.recipes.catalogue import entries
from withstand.recipes.setups.vision.pictures import PictureSetup

FAMILIES = ("contrastive", "non-contrastive", "studies")
CONTROL = "untrained"
COLUMNS = ("seed", "kNN accuracy", "linear accuracy", "processor seconds of training")


def joint_embedding() -> Iterator[tuple[str, ModuleType, str]]:
    """Yield slug, module and code digest of the recipes on pictures whose method is a joint embedding."""
    for item in entries():
        if item.family in FAMILIES:
            module = item.module()
            if isinstance(getattr(module, "SETUP", None), PictureSetup) and hasattr(module, "experiment"):
                yield item.slug, module, code_digest(item.path)


def trial(module: ModuleType, seed: int, epochs: int) -> Experiment:
    """Return a recipe's experiment on the page's budget."""
    with isolated(seed, "benchmark"):
        setup = replace(module.SETUP, data="fashion-mnist-small", width=8, batch=128, epochs=epochs, seed=seed)
        experiment: Experiment = module.experiment(setup)
        return experiment


def measure(module: ModuleType, seed: int, epochs: int, *, untrained: bool = False) -> tuple[Cell, ...]:
    """Return one row of a method's table."""
    experiment = trial(module, seed, epochs)
    busy = time.process_time()
    encoder = experiment.method.encoder.eval() if untrained else trained(experiment).encoder
    took = 0.0 if untrained else time.process_time() - busy
    found = accuracies(encoder, experiment)
    return seed, found["kNN accuracy"], found["linear accuracy"], round(took, 1)


def finding(slug: str, rows: list[tuple[Cell, ...]], protocol: dict[str, Tree]) -> Finding:
    """Return a method's finding; spreads are standard deviations over seeds."""
    units = {name: "seconds" if name.endswith("seconds of training") else "share" for name in COLUMNS[1:]}
    table, figures = Table(COLUMNS, tuple(rows), units=units), dict[str, Measure]()
    for name, unit in units.items():
        values = [float(cell) for cell in table.column(name) if isinstance(cell, float)]
        figures[name] = Measure(
            mean(values),
            unit,
            "lower" if unit == "seconds" else "higher",
            spread=stdev(values) if len(values) > 1 else None,
            of=len(values),
        )
    return Finding(f"methods-{slug}", figures, {"seeds": table}, protocol=protocol)


def run(slug: str, module: ModuleType, digest: str, folder: Path, seed: int, epochs: int) -> Finding:
    """Return a method's finding with this seed measured, if it was not stored already."""
    path = folder / f"methods-{slug}.json"
    source = trial(module, 0, epochs).source
    protocol: dict[str, Tree] = {
        "data": f"{source.name}, {source.origin}",
        "train samples": len(source),
        "network": "ResNet-10 of width 8",
        "epochs": epochs,
        "batch": 128,
        "numerics": "float32, channels-last",
        "threads": torch.get_num_threads(),
        "probes": "kNN, k 20, T 0.07, cosine; linear, C chosen on a held-out part of train",
        "recipe": digest,
    }
    rows: list[tuple[Cell, ...]] = []
    if path.is_file():
        kept = Finding.load(path)
        rows = list(kept.tables["seeds"].rows) if kept.protocol == protocol else []
    if seed not in {row[0] for row in rows}:
        rows.append(measure(module, seed, epochs, untrained=slug == CONTROL))
        finding(slug, rows, protocol).save(folder)
        print(f"{slug}, seed {seed}: kNN {rows[-1][1]:.3f}, linear {rows[-1][2]:.3f}, {rows[-1][3]} s", flush=True)
    return finding(slug, rows, protocol)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="?", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "docs" / "benchmarks")
    parser.add_argument("--methods", nargs="+")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--fresh", action="store_true")
    arguments = parser.parse_args()
    found = list(joint_embedding())
    found.insert(0, (CONTROL, *next(item[1:] for item in found if item[0] == "simclr")))
    if arguments.methods is not None:
        found = [item for item in found if item[0] in arguments.methods]
    if arguments.fresh:
        for slug, *_ in found:
            (arguments.out / f"methods-{slug}.json").unlink(missing_ok=True)
    kept, failed = dict[str, Finding](), set[str]()
    for seed in range(arguments.seeds):  # all methods have a seed before any has the next
        for slug, module, digest in found:
            if slug not in failed:
                try:
                    kept[slug] = run(slug, module, digest, arguments.out, seed, arguments.epochs)
                except (NotImplementedError, WithstandError) as error:
                    print(f"{slug} is left out: {error}", file=sys.stderr)
                    failed.add(slug)
    if arguments.results is not None:
        with arguments.results.open("a") as file:
            for slug, one in kept.items():
                file.write(json.dumps({"work": f"{slug} on one budget", **one.numbers}) + "\n")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
