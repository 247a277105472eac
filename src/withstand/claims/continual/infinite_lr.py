"""The claim of infinite learning rates."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import mean
from typing import Literal

from withstand.claims.protocol.claim import Claim, Tables
from withstand.claims.protocol.measures import Figures, beside, budget, first, first_two, trained_stages, versus
from withstand.core.part import Tree
from withstand.core.random import permutation
from withstand.data.derived.subset import Subset
from withstand.data.load import splits
from withstand.engine.experiment import Experiment
from withstand.evaluation.continual.forgetting import held_out_loss
from withstand.recipes.continual.infinite_lr import SETUP, experiment

INFINITE, COSINE, REPLAY = "infinite", "repeated cosine", "infinite, with 200 samples of each set replayed"
LOSS, FORGOTTEN = "minus the mean held-out loss over all sets", "forgetting, held-out loss"
SETS = ("fashion-mnist-small", "cifar10", "digits")


def claim() -> Claim[Experiment, Figures]:
    """Compare an infinite schedule with a cosine for each set, on three sets of pictures that differ much.

    Clothes, then CIFAR-10 in greys, then digits, all 28 x 28; MAE, the same top rate, not tuned for either. Losses are
    those of finished models, annealed ones of the infinite schedule. Replay stands beside.
    """
    arms = {INFINITE: trial, COSINE: lambda seed: trial(seed, "cosine"), REPLAY: lambda seed: trial(seed, memory=200)}
    return Claim(
        statement="an infinite schedule loses less of what a stream of sets taught than a cosine for each set",
        quantity=LOSS,
        names=first_two(arms),
        arms=arms,
        measure=_measure,
        figures=versus(LOSS),
        protocol=_protocol,
        tables=_tables,
        unit="the method's own",
        material=0.005,
    )


def trial(seed: int, schedule: Literal["infinite", "cosine"] = "infinite", memory: int = 0) -> Experiment:
    """Return a trial of about 150 steps a set, with a ViT of 3 blocks of width 64."""
    whole = [splits(name)[0] for name in SETS]
    count = min(map(len, whole))  # as many pictures of each set, so that all have as many steps
    clothes, *later = (Subset(one, permutation(len(one), "claim", one.name)[:count].tolist()) for one in whole)
    setup = replace(SETUP, data=clothes, width=64, depth=3, batch=128, learning_rate=4e-3, epochs=19, seed=seed)
    return experiment(setup, stream=later, schedule=schedule, memory=memory)


def _measure(arm: Experiment) -> Figures:
    stages, methods = _stages(arm), trained_stages(arm)
    losses = []
    for stage in stages:
        assert stage.test is not None
        losses.append([held_out_loss(method, stage.test, stage.view) for method in methods])
    forgotten = mean(of_set[-1] - of_set[place] for place, of_set in enumerate(losses[:-1]))
    return {LOSS: -mean(of_set[-1] for of_set in losses), FORGOTTEN: forgotten}


def _stages(arm: Experiment) -> list[Experiment]:
    """Return a stream's stages, the first one first."""
    before = _stages(arm.first) if isinstance(arm.first, Experiment) else []
    return [*before, arm]


def _protocol(arms: Mapping[str, Experiment], _: object) -> dict[str, Tree]:
    return {**budget(first(arms)), "sets, in order": list(SETS)}


def _tables(found: Sequence[Mapping[str, Figures]]) -> Tables:
    return {FORGOTTEN: beside(found, FORGOTTEN, "the method's own")}
