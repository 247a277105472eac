"""What recipes of training for certificates share: the setup, the experiment, and shares proven."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch

from withstand.core.batch import unit_range
from withstand.core.random import permutation
from withstand.core.roles import Method, Model, Source
from withstand.core.threat import Ball, parse_eps
from withstand.engine.experiment import Experiment
from withstand.engine.optimizers import Adam
from withstand.methods.robust.certified_training import CertifiedTraining
from withstand.recipes.claim import Claim
from withstand.recipes.setups.pictures import PictureSetup
from withstand.recipes.setups.robust_pictures import both, class_count, experiment_with_labels, share, trained_network
from withstand.recipes.trial import budget, side_by_side
from withstand.verification.certify import certify
from withstand.views.pictures.padded_crop import PaddedCrop

SAMPLES = 500
"""Test samples on which a claim's certified accuracy is measured."""


@dataclass(frozen=True, kw_only=True)
class CertifiedSetup(PictureSetup):
    """What a recipe of training for certificates can be told.

    Args:
        learning_rate: of Adam.
        eps: radius (Linf) that is to be certified, in input units or like 8/255.
        kappa: the clean loss's weight in the end.
    """

    model: str = "convnet"
    width: int = 16
    depth: int = 2
    epochs: int = 30
    batch: int = 64
    learning_rate: float = 1e-3
    eps: str = "0.1"
    kappa: float = 0.5


def certified_experiment(name: str, bound: Literal["ibp", "crown-ibp"], setup: CertifiedSetup) -> Experiment:
    """Return the experiment of training on bounds.

    Args:
        name: the recipe's slug.
        bound: what the training's margins are bounded by while the radius grows.
        setup: data, network, budget, radius.
    """

    def method(encoder: Model, source: Source) -> Method:
        return CertifiedTraining(
            encoder,
            classes=class_count(source),
            eps=parse_eps(setup.eps),
            bound=bound,
            kappa=setup.kappa,
        )

    # Mirrored and far-shifted pictures cost small networks more than they teach them.
    return experiment_with_labels(
        name, method, setup, optimizer=Adam(setup.learning_rate), crop=PaddedCrop(1, flip=0.0)
    )


def proven(trial: Experiment, eps: float) -> tuple[float, float]:
    """Train a trial and return (clean accuracy, share of test samples proven right within eps by CROWN and IBP)."""
    network = trained_network(trial)
    assert trial.test is not None
    rows = permutation(len(trial.test), 0, "claim")[:SAMPLES].sort().values
    batch = trial.test[rows]
    assert batch.y is not None
    x = unit_range(batch.x)
    with torch.no_grad():
        clean = network(x).argmax(1) == batch.y
    verdicts = certify(network, x, batch.y, Ball("linf", eps), method="auto", attack=False)
    return share(clean), share(torch.tensor([verdict.status == "safe" for verdict in verdicts]))


def more_proven(
    slug: str,
    statement: str,
    ours: Callable[[int], Experiment],
    theirs: Callable[[int], Experiment],
    *,
    names: tuple[str, str],
    seeds: int,
    eps: str,
) -> Claim:
    """Train a system and its baseline, seed by seed, and return the claim on certified accuracy."""
    found, pair = side_by_side(ours, theirs, names, seeds, lambda trial: proven(trial, parse_eps(eps)))
    system, baseline = (tuple(certified for _, certified in found[name]) for name in names)
    return Claim(
        slug=slug,
        statement=statement,
        quantity=f"certified accuracy at {eps}",
        system=system,
        baseline=baseline,
        names=names,
        protocol={**budget(pair[0]), "proofs": f"IBP, CROWN and optimised slopes, {SAMPLES} test samples"},
        tables={"clean and certified accuracy": both(found, "certified")},
    )
