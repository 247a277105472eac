"""The claim of Barlow Twins."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from withstand.claims.protocol.claim import Claim, Tables
from withstand.claims.protocol.measures import LINEAR, PROBES, Figures, accuracy, budget, projections, test_of, trained
from withstand.core.findings.finding import Table
from withstand.core.part import Tree
from withstand.engine.experiment import Experiment
from withstand.losses.contrast.geometry import effective_rank
from withstand.recipes.non_contrastive.barlow_twins import SETUP, experiment

WITH, WITHOUT, UNTRAINED = "with redundancy term", "without", "untrained"
RANK = "effective rank of the projections"


def claim() -> Claim[Experiment, Figures]:
    """Compare a trained encoder with the same one untrained, on CIFAR-10, and look at the redundancy term's part.

    Barlow Twins learns slowly at this budget: the claim is that it learns without negatives, not that it beats
    another method.
    """
    return Claim(
        statement="pushing the cross-correlation to the identity learns without negatives and does not collapse",
        quantity=LINEAR,
        names=("Barlow Twins", UNTRAINED),
        arms={WITH: lambda seed: _trial(0.05, seed), WITHOUT: lambda seed: _trial(0.0, seed)},
        measure=_measure,
        figures=lambda found: (found[WITH][LINEAR], found[WITH][UNTRAINED]),
        protocol=_protocol,
        tables=_tables,
    )


def _trial(redundancy_weight: float, seed: int) -> Experiment:
    """Return a trial; a projection as narrow as this needs a larger lambda than the paper's."""
    return experiment(
        replace(SETUP, data="cifar10", width=8, epochs=10, batch=64, learning_rate=0.12, seed=seed),
        dim=64,
        scale=1.0,
        redundancy_weight=redundancy_weight,
    )


def _measure(trial: Experiment) -> Figures:
    method = trained(trial)
    return {
        LINEAR: accuracy(method.encoder, trial, LINEAR),
        UNTRAINED: accuracy(trial.method.encoder.eval(), trial, LINEAR),
        RANK: float(effective_rank(projections(method, test_of(trial)))),
    }


def _protocol(trials: Mapping[str, Experiment], _: object) -> dict[str, Tree]:
    return {**budget(trials[WITH]), "probe": PROBES[LINEAR]}


def _tables(found: Sequence[Mapping[str, Figures]]) -> Tables:
    rows = tuple((seed, arms[WITH][RANK], arms[WITHOUT][RANK]) for seed, arms in enumerate(found))
    return {RANK: Table(("seed", WITH, WITHOUT), rows, units={WITH: "directions", WITHOUT: "directions"})}
