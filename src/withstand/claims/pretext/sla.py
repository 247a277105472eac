"""The claim of SLA."""

from dataclasses import replace

import torch

from withstand.claims.protocol.claim import Claim
from withstand.claims.protocol.measures import (
    Figures,
    beside,
    budget,
    first,
    on_cifar10,
    share,
    test_of,
    trained,
    versus,
)
from withstand.claims.protocol.robust_measures import classifier
from withstand.core.roles import Source
from withstand.data.derived.subset import Subset
from withstand.engine.experiment import Experiment
from withstand.evaluation.features import embed
from withstand.models.blocks.classifiers.aggregated import Aggregated
from withstand.recipes.pretext.sla import SETUP, Mode, experiment

EACH = 50
"""Labelled pictures of a class: so few that networks learn them by heart."""
ACCURACY, ALONE = "accuracy", "accuracy on the unchanged version"


def claim() -> Claim[Experiment, Figures]:
    """Compare joint labels with two tasks side by side, and with augmentation and plain training, on CIFAR-10."""

    def trial(seed: int, mode: Mode) -> Experiment:
        made = experiment(on_cifar10(SETUP, seed, epochs=100, batch=32), mode=mode)
        return replace(made, source=few(made.source))

    def measure(one: Experiment) -> Figures:
        network, test = classifier(trained(one), one.source), test_of(one)
        logits = embed(network, test)
        found = {ACCURACY: share(logits.x.argmax(1) == logits.labels)}
        if not isinstance(network, Aggregated):
            return found | {ALONE: found[ACCURACY]}
        alone = Aggregated.joining(network.encoder, network.head, network.transforms, "single").eval()
        return found | {ALONE: share(embed(alone, test).x.argmax(1) == logits.labels)}

    return Claim(
        statement="labels joined with turns teach a classifier more than a second task that tells the turns",
        quantity=ACCURACY,
        names=("SLA", "multi-task training"),
        arms={
            "SLA": lambda seed: trial(seed, "joint"),
            "multi-task training": lambda seed: trial(seed, "multi-task"),
            "augmentation": lambda seed: trial(seed, "augmentation"),
            "plain training": lambda seed: trial(seed, "plain"),
        },
        measure=measure,
        figures=versus(ACCURACY),
        protocol=lambda trials, _: {
            **budget(first(trials)),
            "budget": "equal steps; plain training sees one version of a picture a step, the others four",
        },
        tables=lambda found: {name: beside(found, name, "share") for name in (ACCURACY, ALONE)},
    )


def few(source: Source) -> Source:
    """Return the first `EACH` samples of each class."""
    labels = source.labels
    assert labels is not None
    rows = [(labels == label).nonzero()[:EACH, 0] for label in torch.unique(labels)]
    return Subset(source, torch.cat(rows).sort().values.tolist())
