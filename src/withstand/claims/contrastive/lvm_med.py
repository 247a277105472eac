"""LVM-Med's claim: edges help to find the right pictures, on the same noisy affinities."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from withstand.claims.protocol.claim import Budget, Claim, Tables
from withstand.claims.protocol.measures import Figures, beside, budget, test_of, trained
from withstand.core.part import Tree, describe
from withstand.engine.experiment import Experiment
from withstand.evaluation.representation.matched import Matched
from withstand.recipes.contrastive.lvm_med import SETUP, experiment

SECOND, FIRST = ("matched to itself, second order, under noise", "matched to itself, first order, under noise")
PLAIN = ("matched to itself, second order", "matched to itself, first order")
NOISE = 0.3
ARM = "trained by graph matching"


def claim() -> Claim[Experiment, Figures]:
    """Match views of held-out MRI slices with edges and without, after a short training, under the same noise."""
    setup = replace(SETUP, size=48, width=8, epochs=1)
    return Claim(
        statement="on the same noisy affinities, matching that weighs edges finds more pictures again",
        quantity="share of pictures matched to themselves",
        names=("second order", "first order"),
        arms={ARM: lambda seed: experiment(replace(setup, seed=seed))},
        measure=_measure,
        figures=lambda found: (found[ARM][SECOND], found[ARM][FIRST]),
        protocol=_protocol,
        tables=_tables,
        budget=Budget(least=4, most=10),
    )


def _measure(trial: Experiment) -> Figures:
    judge = Matched(trial.view, graphs=30, noise=NOISE, seed=trial.plan.seed)
    found = judge.evaluate(trained(trial), trial.source, test=test_of(trial)).figures
    return {name: found[name].value for name in (SECOND, FIRST, *PLAIN)}


def _protocol(trials: Mapping[str, Experiment], _: object) -> dict[str, Tree]:
    (trial,) = trials.values()
    return {**budget(trial), "noise": NOISE, "view": describe(trial.view)}


def _tables(found: Sequence[Mapping[str, Figures]]) -> Tables:
    return {name: beside(found, name, "share") for name in PLAIN}
