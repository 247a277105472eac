"""Global and local contrast's claim: a U-Net that starts from it segments better with two labelled volumes."""

from collections.abc import Mapping
from dataclasses import replace

from withstand.claims.protocol.claim import Budget, Claim
from withstand.claims.protocol.measures import Figures, budget, test_of, trained
from withstand.core.part import Tree, again, describe
from withstand.core.random import isolated
from withstand.engine.experiment import Experiment
from withstand.evaluation.dense.segmentation.probe import SegmentationProbe
from withstand.recipes.dense.global_local import experiment

DICE, RANDOM = "Dice, 2 labelled volumes", "of a random start"
PROBE = SegmentationProbe(volumes=(2,), choices=1, steps=250)
EPOCHS = 1


def claim() -> Claim[Experiment, Figures]:
    """Compare with a random start on hippocampi, fine-tuned on the same volumes by the same batches."""
    return Claim(
        statement="contrast by depth and by regions gives a U-Net that segments better once tuned on two volumes",
        quantity=DICE,
        names=("G^D and L^R", "random start"),
        arms={"G^D and L^R": lambda seed: experiment(width=8, epochs=EPOCHS, seed=seed)},
        measure=_measure,
        figures=lambda found: (found["G^D and L^R"][DICE], found["G^D and L^R"][RANDOM]),
        protocol=_protocol,
        unit="ratio",
        budget=Budget(least=3, most=10),
    )


def _measure(trial: Experiment) -> Figures:
    method = trained(trial)
    with isolated(trial.plan.seed, "weights"):
        untrained = again(trial.method)
    probe = replace(PROBE, seed=trial.plan.seed)
    found = probe.evaluate(method, trial.source, test=test_of(trial), control=untrained).figures[DICE]
    assert found.control is not None
    return {DICE: found.value, RANDOM: found.control.value}


def _protocol(trials: Mapping[str, Experiment], _: object) -> dict[str, Tree]:
    (trial,) = trials.values()
    return {**budget(trial), "stages": "two of these epochs each", "fine-tuning, but for its seed": describe(PROBE)}
