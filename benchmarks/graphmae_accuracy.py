"""GraphMAE at its published settings: accuracy over training seeds, by the protocol and beside the table of the paper.

    WITHSTAND_DATA=... python -m benchmarks.graphmae_accuracy [RESULTS.jsonl] --data cora [--seeds 0 1 2] [--epochs N]
        [--runs FOLDER]

Citation graphs: one linear layer on frozen features, public split, accuracy after the last epoch and at the one that
validation prefers. Sets of graphs: an RBF support vector machine in ten folds, drawn once, as in the official code. A
run that was stopped is resumed where --runs names its folder.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from tempfile import TemporaryDirectory

from withstand.engine import checkpoint
from withstand.engine.launch import train
from withstand.evaluation.structured.graph_sets import FoldedSVM
from withstand.recipes.masked import graphmae

PAPER = {
    "cora": 0.842, "citeseer": 0.734, "pubmed": 0.811, "mutag": 0.8819, "proteins": 0.7530, "imdb-binary": 0.7552,
    "imdb-multi": 0.5163, "nci1": 0.8040,
}  # fmt: skip


def measured(name: str, seed: int, epochs: int | None, folder: Path) -> dict[str, float]:
    """Train (or go on, or read what is there) and return what the set's own judge finds."""
    experiment = graphmae.experiment(data=name, seed=seed, epochs=epochs)
    run = train(experiment, folder, quiet=True)
    checkpoint.load(run.checkpoints, experiment.method)
    judge = experiment.judges[0]
    if isinstance(judge, FoldedSVM):
        judge = replace(judge, repeats=1)
    finding = judge.evaluate(experiment.method.encoder.eval(), experiment.source)
    print(f"  seed {seed}: " + json.dumps({key: round(value, 4) for key, value in finding.numbers.items()}), flush=True)
    if not seed:
        print(f"  protocol: {finding.protocol['protocol']}", flush=True)
    return finding.numbers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="?", type=Path)
    parser.add_argument("--data", choices=PAPER, default="mutag")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--runs", type=Path, help="where run folders stay; thrown away if not said")
    arguments = parser.parse_args()
    with TemporaryDirectory() as scrap:
        base = arguments.runs or Path(scrap)
        found = [
            measured(arguments.data, seed, arguments.epochs, base / f"{arguments.data}-{seed}")
            for seed in arguments.seeds
        ]
    for key in ("accuracy", "accuracy, epoch chosen on validation"):
        values = [numbers[key] for numbers in found if key in numbers]
        if values:
            spread = stdev(values) if len(values) > 1 else 0.0
            print(f"{arguments.data}, {key}: {mean(values):.4f} ± {spread:.4f}, paper {PAPER[arguments.data]:.4f}")
    if arguments.results is not None:
        line = {
            "work": f"GraphMAE on {arguments.data}, accuracy",
            "ours": mean(numbers["accuracy"] for numbers in found),
        }
        with arguments.results.open("a") as file:
            file.write(json.dumps({**line, "paper": PAPER[arguments.data]}) + "\n")


if __name__ == "__main__":
    main()
