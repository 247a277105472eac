"""A recipe's learning rate, searched where no claim is measured: another seed, and scored on a held-out part of train.

    python -m benchmarks.tuning.learning_rates groco --rates 0.002 0.004 0.008 0.016 [--epochs 20]

Rates are the recipe's own option: for its reference batch. The best by the sum of both probes is the one to keep.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

from withstand.claims.protocol.measures import accuracies, trained
from withstand.core.random import isolated, permutation
from withstand.data.derived.subset import Subset
from withstand.recipes.catalogue import entry

SEED = 1000
"""Of weights, order, views and the held-out part; claims count theirs from 0."""


def score(slug: str, rate: float, data: str, epochs: int, width: int) -> dict[str, float]:
    """Return both probes' accuracies on a fifth of the train part that was not trained on."""
    module = entry(slug).module()
    with isolated(SEED, "rates"):
        setup = replace(module.SETUP, data=data, width=width, epochs=epochs, seed=SEED, learning_rate=rate)
        experiment = module.experiment(setup)
    order = permutation(len(experiment.source), SEED, "held out")
    cut = len(order) // 5
    held_out, rest = Subset(experiment.source, order[:cut]), Subset(experiment.source, order[cut:])
    experiment = replace(experiment, source=rest, test=held_out)
    return {str(name): value for name, value in accuracies(trained(experiment).encoder, experiment).items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slug")
    parser.add_argument("--rates", nargs="+", type=float, required=True)
    parser.add_argument("--data", default="fashion-mnist-small")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--results", type=Path)
    arguments = parser.parse_args()
    for rate in arguments.rates:
        found = score(arguments.slug, rate, arguments.data, arguments.epochs, arguments.width)
        line = {"recipe": arguments.slug, "rate": rate, "epochs": arguments.epochs, "data": arguments.data, **found}
        print(json.dumps(line), flush=True)
        if arguments.results is not None:
            with arguments.results.open("a") as file:
                file.write(json.dumps(line) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
