"""The claim of self-distillation for further pretraining."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from withstand.claims.protocol.claim import Claim, Tables
from withstand.claims.protocol.measures import (
    Figures,
    beside,
    budget,
    earlier,
    first,
    first_two,
    test_of,
    trained,
    versus,
)
from withstand.core.part import Tree, describe
from withstand.core.random import permutation
from withstand.core.roles import Source
from withstand.data.derived.subset import Subset
from withstand.data.load import splits
from withstand.engine.experiment import Experiment
from withstand.evaluation.continual.drift import MOVED, Drift
from withstand.evaluation.probes.fine_tuning import FineTuning
from withstand.recipes.continual.self_distillation import SETUP, experiment

DISTILLED, FURTHER = "self-distillation", "further pretraining"
PICTURES, LABELS, STEPS = 375, 20, 150
"""Pictures at hand, a fifth of which is held out, labels a class, and steps of fine-tuning."""
TUNED = f"accuracy after fine-tuning with {LABELS} labels a class"


def claim() -> Claim[Experiment, Figures]:
    """Compare self-distillation with further pretraining, on the five CIFAR-10 classes that the start did not see.

    The start is an MAE of the five others; 300 pictures are learnt from, without labels until an encoder is fine-tuned.
    Both arms begin with the same start. How far encoders moved from it stands beside. Self-distillation trains twice.
    """
    arms = {DISTILLED: lambda seed: trial(seed, 1), FURTHER: lambda seed: trial(seed, 0)}
    return Claim(
        statement="self-distillation after further pretraining on few pictures is better for fine-tuning than it alone",
        quantity=TUNED,
        names=first_two(arms),
        arms=arms,
        measure=_measure,
        figures=versus(TUNED),
        protocol=_protocol,
        tables=_tables,
    )


def trial(seed: int, rounds: int) -> Experiment:
    """Return a trial with a ViT of 3 blocks of width 64; each stage has about 240 steps."""
    (others, _), (train, test) = (_classes(range(5)), _classes(range(5, 10)))
    few = Subset(train, permutation(len(train), seed, "at hand")[:PICTURES].tolist())
    setup = replace(SETUP, data=few, width=64, depth=3, batch=64, learning_rate=6e-3, epochs=60, seed=seed)
    start = earlier(experiment(replace(setup, data=others), rounds=0))
    # As many steps on many pictures as on few.
    passes = max(1, 60 * len(few) // len(others))
    start = replace(start, plan=replace(start.plan, epochs=passes))
    return replace(experiment(setup, first=start, rounds=rounds), test=test)


def _classes(labels: range) -> tuple[Source, Source]:
    """Return the train and test pictures of some classes."""
    found = []
    for part in splits("cifar10"):
        assert part.labels is not None
        found.append(Subset(part, torch.isin(part.labels, torch.tensor(labels)).nonzero()[:, 0].tolist()))
    return found[0], found[1]


def _measure(arm: Experiment) -> Figures:
    method = trained(arm)
    tuned = FineTuning(LABELS, draws=2, steps=STEPS).evaluate(method.encoder, arm.source, test=test_of(arm))
    return {TUNED: next(iter(tuned.numbers.values())), MOVED: Drift().evaluate(method, arm.source).numbers[MOVED]}


def _protocol(arms: Mapping[str, Experiment], _: object) -> dict[str, Tree]:
    return {**budget(first(arms)), "fine-tuning": describe(FineTuning(LABELS, draws=2, steps=STEPS))}


def _tables(found: Sequence[Mapping[str, Figures]]) -> Tables:
    return {MOVED: beside(found, MOVED, "ratio")}
