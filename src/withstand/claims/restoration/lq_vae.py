"""The claim of LQ-VAE."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from withstand.claims.protocol.claim import Claim, Tables
from withstand.claims.protocol.measures import Figures, beside, budget, first, test_of, trained
from withstand.core.part import Tree
from withstand.core.roles import network_of
from withstand.core.threat import Ball
from withstand.core.victims.victim import Victim
from withstand.defenses.purifier import Purifier
from withstand.engine.experiment import Experiment
from withstand.evaluation.defenses.purification import Purification
from withstand.recipes.pretext import sla
from withstand.recipes.restoration.lq_vae import SETUP, experiment

OURS, PLAIN, FREE = "LQ-VAE", "plain autoencoder", "without the penalty"
GREY, EPS = "grey-box accuracy", 0.3
JUDGE = Purification(Ball("linf", EPS), samples=500, steps=20, queries=50, pictures=1)


def claim() -> Claim[Experiment, Figures]:
    """Compare filters by the accuracy that a classifier keeps on pictures that were attacked without the filter.

    On MNIST within 0.3: APGD on the bare classifier, whose outputs are then taken behind the filter. Beside it: the
    clean accuracy, and the accuracy against who knows the filter, which is the one that a user can count on; and the
    filter without the penalty on slopes.
    """
    return Claim(
        statement="a code of signs cleans pictures that were attacked on the bare classifier better than a plain one",
        quantity=GREY,
        names=(OURS, PLAIN),
        arms={
            OURS: trial,
            PLAIN: lambda seed: trial(seed, quantised=False, penalty=0.0, divergence=0.05),
            FREE: lambda seed: trial(seed, penalty=0.0),
        },
        measure=measure,
        figures=lambda found: (found[OURS][GREY], found[PLAIN][GREY]),
        protocol=_protocol,
        tables=_tables,
    )


def trial(seed: int, *, quantised: bool = True, penalty: float = 10.0, divergence: float = 1.0) -> Experiment:
    """Return a trial of six epochs on MNIST."""
    return experiment(
        replace(SETUP, data="mnist", epochs=6, seed=seed),
        penalty=penalty,
        divergence=divergence,
        quantised=quantised,
        width=16,
        hidden=128,
    )


def classifier(seed: int) -> Experiment:
    """Return a plain classifier of three epochs."""
    return sla.experiment(
        replace(sla.SETUP, data="mnist", width=8, epochs=3, batch=SETUP.batch, seed=seed), mode="plain"
    )


def measure(trial: Experiment) -> Figures:
    """Return a classifier's accuracy behind the filter, clean and under attackers who know ever more."""
    victim = Victim(network_of(trained(classifier(trial.plan.seed)), "classifier").eval())
    guard = Purifier(victim, network_of(trained(trial), "purifier").eval())
    found = JUDGE.evaluate(guard, test_of(trial)).figures
    return {name.partition(",")[0]: figure.value for name, figure in found.items()}


def _protocol(arms: Mapping[str, Experiment], found: Sequence[Mapping[str, Figures]]) -> dict[str, Tree]:
    return {**budget(first(arms)), "eps": EPS, "samples": JUDGE.samples, "steps": JUDGE.steps}


def _tables(found: Sequence[Mapping[str, Figures]]) -> Tables:
    return {name: beside(found, name, "share") for name in found[0][OURS]}
