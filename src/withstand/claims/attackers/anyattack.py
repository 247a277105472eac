"""The claim of AnyAttack."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from withstand.claims.protocol.claim import Claim, Tables
from withstand.claims.protocol.measures import Figures, beside, budget, first, on_cifar10, test_of, trained
from withstand.core.part import Tree
from withstand.engine.experiment import Experiment
from withstand.evaluation.robustness.encoders.target_retrieval import (
    CLEAN,
    LEARNT,
    NOISE,
    RETRIEVED,
    SEARCHED,
    TargetRetrieval,
)
from withstand.recipes.attackers import anyattack
from withstand.recipes.contrastive import simclr

OURS, ONE = "AnyAttack", "one carrier"
JUDGE = TargetRetrieval(samples=500, eps=(1.0,))


def claim() -> Claim[Experiment, Figures]:
    """Compare how often, among 100 held-out CIFAR-10 pictures, the target is found from an attacked one and from noise.

    The decoder learns for four epochs on SimCLR's encoder of five, within 16/255. Beside it: clean pictures, PGD on
    each picture, and a decoder whose changes are tried on one carrier in a step in place of three.
    """
    return Claim(
        statement="a decoder of target embeddings leads any picture nearer to its target than noise of the same size",
        quantity=RETRIEVED,
        names=(OURS, "random signs"),
        arms={OURS: lambda seed: trial(seed, 3), ONE: lambda seed: trial(seed, 1)},
        measure=measure,
        figures=lambda found: (found[OURS][f"{RETRIEVED}, {LEARNT}"], found[OURS][f"{RETRIEVED}, {NOISE}"]),
        protocol=_protocol,
        tables=_tables,
    )


def trial(seed: int, carriers: int) -> Experiment:
    """Return a trial of about 300 steps, with a decoder of width 8."""
    victim = simclr.experiment(on_cifar10(simclr.SETUP, seed))
    setup = replace(anyattack.SETUP, victim=victim, data="cifar10", epochs=4, seed=seed)
    return anyattack.experiment(setup, carriers=carriers, decoder_width=8)


def measure(trial: Experiment) -> Figures:
    """Return how often targets are found, and the cosines to them."""
    found = JUDGE.evaluate(trained(trial), trial.source, test=test_of(trial))
    return {name: measure.value for name, measure in found.figures.items()}


def _protocol(arms: Mapping[str, Experiment], found: Sequence[Mapping[str, Figures]]) -> dict[str, Tree]:
    return {**budget(first(arms)), "samples": JUDGE.samples, "gallery": JUDGE.gallery, "rounded": "to bytes"}


def _tables(found: Sequence[Mapping[str, Figures]]) -> Tables:
    who = (LEARNT, SEARCHED, NOISE, CLEAN)
    shares = {f"{RETRIEVED}, {name}": beside(found, f"{RETRIEVED}, {name}", "share") for name in who}
    cosines = [f"cosine to the target, {name}" for name in who]
    return shares | {name: beside(found, name, "cosine") for name in cosines}
