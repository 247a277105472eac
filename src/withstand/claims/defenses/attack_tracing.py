"""The claim of attack tracing."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from withstand.claims.protocol.claim import Claim, Tables
from withstand.claims.protocol.measures import Figures, beside, budget, first, test_of, trained
from withstand.core.part import Tree
from withstand.core.roles import network_of
from withstand.core.victims.victim import Victim
from withstand.engine.experiment import Experiment
from withstand.evaluation.defenses.tracing.attempts import Attempt, attempt
from withstand.evaluation.defenses.tracing.evidence import Reference, every_copy
from withstand.evaluation.defenses.tracing.judge import TRACED, TRANSFER, UNTRAINED, untrained
from withstand.evaluation.statistics.intervals import Share
from withstand.losses.robust.noise_sensitivity import Form
from withstand.models.pictures.tracers import TracedCopies
from withstand.recipes.defenses import attack_tracing
from withstand.recipes.pretext import sla

OURS, DIFFERENCE = "noise-sensitive tracers", "by the difference"
COPIES, SAMPLES, KEPT, PLAIN = 4, 40, "accuracy of the copies", "accuracy of the classifier"


def claim() -> Claim[Experiment, Figures]:
    """Compare tracers that learnt to react to noise with untrained ones, on the same classifier and pictures.

    Of digits: a classifier of twelve epochs, four copies, forty pictures attacked on each by the margin within growing
    radii, and each example traced alone, without its original. Beside it: how often examples fool another copy, what
    copies cost in accuracy, and the loss without the reciprocal.
    """
    return Claim(
        statement="an adversarial example points at the copy that it was made on if tracers learnt to react to noise",
        quantity=TRACED,
        names=(OURS, UNTRAINED),
        arms={OURS: trial, DIFFERENCE: lambda seed: trial(seed, "difference")},
        measure=measure,
        figures=lambda found: (found[OURS][TRACED], found[OURS][f"{TRACED}, {UNTRAINED}"]),
        protocol=_protocol,
        tables=_tables,
    )


def trial(seed: int, loss: Form = "reciprocal") -> Experiment:
    """Return a trial of some 230 steps of the tracers."""
    classifier = sla.experiment(
        replace(sla.SETUP, data="digits", width=8, epochs=12, batch=64, seed=seed), mode="plain"
    )
    setup = replace(attack_tracing.SETUP, first=classifier, epochs=20, seed=seed)
    return attack_tracing.experiment(setup, copies=COPIES, reserve=0, loss=loss)


def measure(trial: Experiment) -> Figures:
    """Return how often examples point at their copy, with these tracers and with ones that learnt nothing."""
    copies = network_of(trained(trial), "copies", TracedCopies).eval()
    test = test_of(trial)
    x = Victim(copies.classifier).ready(test[torch.arange(len(test))].x)
    assert test.labels is not None
    blank = untrained(copies, trial.plan.seed)
    own, other = (_traced(each, x, trial.plan.seed) for each in (copies, blank))
    label, logits, _ = every_copy(copies, x)
    return {
        TRACED: Share.of(own.right).value,
        f"{TRACED}, {UNTRAINED}": Share.of(other.right).value,
        TRANSFER: Share.of(own.transferred).value,
        f"{TRANSFER}, {UNTRAINED}": Share.of(other.transferred).value,
        KEPT: float((logits.argmax(2) == test.labels).float().mean()),
        PLAIN: float((label == test.labels).float().mean()),
    }


def _traced(copies: TracedCopies, x: torch.Tensor, seed: int) -> Attempt:
    label, _, told = every_copy(copies, x)
    return attempt(copies, Reference.of(told, label), x[:SAMPLES], steps=20, seed=seed)


def _protocol(arms: Mapping[str, Experiment], found: Sequence[Mapping[str, Figures]]) -> dict[str, Tree]:
    return {**budget(first(arms)), "copies": COPIES, "pictures attacked on each": SAMPLES, "by chance": 1 / COPIES}


def _tables(found: Sequence[Mapping[str, Figures]]) -> Tables:
    return {name: beside(found, name, "share") for name in found[0][OURS]}
