"""The claim of CTRL."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from withstand.claims.protocol.claim import Claim, Tables
from withstand.claims.protocol.measures import Figures, budget, first, on_cifar10, test_of, trained
from withstand.core.findings.finding import Table
from withstand.core.part import Tree
from withstand.engine.experiment import Experiment
from withstand.evaluation.defenses.backdoor.poison_detection import CLUSTERS, FREQUENCIES, PoisonDetection
from withstand.evaluation.defenses.backdoor.trigger_success import (
    ACCURACY,
    CLEAN_ACCURACY,
    OF_CLEAN,
    SUCCESS,
    TriggerSuccess,
)
from withstand.recipes.attackers import ctrl
from withstand.views.triggers import FrequencyTrigger

ARM = "poisoned and clean"
MAGNITUDE = 200.0
TRIGGER = TriggerSuccess(FrequencyTrigger(MAGNITUDE))
DETECTION = PoisonDetection(asked=200, blends=4)
SHOWN = (ACCURACY, CLEAN_ACCURACY, f"AUC, {FREQUENCIES}", f"AUC, {CLUSTERS}")


def claim() -> Claim[Experiment, Figures]:
    """Compare an encoder that learnt from 50 poisoned pictures in 5,000 with its clean twin, under the trigger.

    SimCLR on CIFAR-10, about 1,000 steps; success is the share of other classes' test pictures that kNN on clean
    features sends to the target. Beside it both accuracies, and how well two detectors find the poison.
    """
    return Claim(
        statement="a trigger on 1 % of the pictures that an encoder learns from sends others to its class, more than "
        "on an encoder that never saw it",
        quantity=SUCCESS,
        names=("poisoned", "clean"),
        arms={ARM: trial},
        measure=measure,
        figures=lambda found: (found[ARM][SUCCESS], found[ARM][OF_CLEAN]),
        protocol=_protocol,
        tables=_tables,
    )


def trial(seed: int) -> Experiment:
    """Return a trial of about 1,000 steps of both encoders."""
    setup = on_cifar10(ctrl.SETUP, seed, epochs=26, batch=128)
    setup = replace(setup, model="convnet", width=16, depth=3)
    return ctrl.experiment(setup, magnitude=MAGNITUDE)


def measure(trial: Experiment) -> Figures:
    """Return what the trigger does to held-out pictures, and what detectors make of the training pictures."""
    method = trained(trial)
    judged = TRIGGER.evaluate(method, trial.source, test=test_of(trial))
    found = DETECTION.evaluate(method.encoder, trial.source)
    return {**judged.numbers, **found.numbers}


def _protocol(arms: Mapping[str, Experiment], found: Sequence[Mapping[str, Figures]]) -> dict[str, Tree]:
    return {
        **budget(first(arms)),
        "magnitude": MAGNITUDE,
        "rate": 0.01,
        "kNN": f"k {TRIGGER.k}, T {TRIGGER.temperature}",
    }


def _tables(found: Sequence[Mapping[str, Figures]]) -> Tables:
    rows = tuple((seed, *(arms[ARM][name] for name in SHOWN)) for seed, arms in enumerate(found))
    return {"accuracy, and detectors": Table(("seed", *SHOWN), rows, units=dict.fromkeys(SHOWN, "share"))}
