"""Measures of networks that withstand: accuracy under attack, and shares proven."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from withstand.attacks.inputs.gradient import PGD
from withstand.attacks.objectives import Margin
from withstand.claims.protocol.claim import Claim
from withstand.claims.protocol.measures import (
    Figures,
    Make,
    Scale,
    Setup,
    budget,
    first,
    first_two,
    share,
    test_of,
    trained,
    versus,
)
from withstand.core.batch import unit_range
from withstand.core.findings.finding import Table
from withstand.core.part import Tree
from withstand.core.random import permutation
from withstand.core.roles import Method, Source
from withstand.core.threat import Ball, parse_eps
from withstand.core.victims.victim import Victim
from withstand.engine.experiment import Experiment
from withstand.evaluation.features import embed
from withstand.evaluation.probes.linear import fit_linear
from withstand.recipes.setups.vision.robust_pictures import RobustSetup
from withstand.verification.certify import certify

SAMPLES = 500
"""Test samples on which a claim's accuracy under attack, or share proven, is measured."""
CLEAN, ATTACKED, CERTIFIED = "clean", "under attack", "certified"
ON_FEATURES = " of a linear classifier on clean features"
"""Whose accuracy is meant where an encoder learnt without labels."""


def on_fashion(setup: Setup, seed: int, scale: Scale = "small", *, epochs: int = 8, steps: int | None = None) -> Setup:
    """Return a setup for one trial on Fashion-MNIST.

    Args:
        setup: the recipe's.
        seed: of the trial.
        scale: "small" trains a ResNet-10 of width 8 on the 10,000 pictures that the package carries; "gpu" a ResNet-18
            of width 64 on all 60,000 for 50 epochs.
        epochs: of the small scale.
        steps: of the small scale's inner attack; the recipe's own at the other, and if not said.
    """
    if scale == "gpu":
        return replace(setup, data="fashion-mnist", width=64, depth=18, epochs=50, seed=seed)
    setup = replace(setup, width=8, epochs=epochs, seed=seed)
    return setup if steps is None or not isinstance(setup, RobustSetup) else replace(setup, steps=steps)


def classifier(method: Method, source: Source) -> nn.Module:
    """Return the classifier of a method that gives one; of another, a linear one fitted on clean features."""
    own = method.products().get("classifier")
    if isinstance(own, nn.Module):
        return own.eval()
    return nn.Sequential(method.encoder, fit_linear(embed(method.encoder, source)).as_linear()).eval()


def judged(trial: Experiment) -> tuple[Tensor, Tensor]:
    """Return the test samples that are judged, in the unit range, and their labels."""
    test = test_of(trial)
    batch = test[permutation(len(test), 0, "claim")[:SAMPLES].sort().values]
    assert batch.y is not None
    return unit_range(batch.x), batch.y


def withstood(network: nn.Module, trial: Experiment, eps: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return which test samples are right, which are right under attack too, and their labels, each `(N,)`.

    The attacks are PGD with 20 steps on the cross-entropy and on the margin.
    """
    (x, y), victim = judged(trial), Victim(network)
    attack = PGD(Ball("linf", parse_eps(eps)), steps=20, drop_finished=True)
    with torch.no_grad():
        clean = network(x).argmax(1) == y
    holds = clean.clone()
    for one in (attack, replace(attack, objective=Margin())):
        holds &= ~one(victim, x, y, generator=0).success
    return clean, holds, y


def attacked(eps: str, lift: Callable[[Tensor, Tensor], Figures] | None = None) -> Callable[[Experiment], Figures]:
    """Return the measure of clean accuracy and of accuracy under attack within a radius.

    Args:
        eps: the radius (Linf).
        lift: further figures, from which samples hold and their labels.
    """

    def measure(trial: Experiment) -> Figures:
        clean, holds, y = withstood(classifier(trained(trial), trial.source), trial, eps)
        return {CLEAN: share(clean), ATTACKED: share(holds)} | ({} if lift is None else lift(holds, y))

    return measure


def by_attack(
    statement: str, arms: Mapping[str, Make], *, eps: str = "8/255", of: str = ""
) -> Claim[Experiment, Figures]:
    """Return the claim that the first arm keeps more accuracy under attack than the second.

    Args:
        statement: what the paper claims.
        arms: what makes the experiments for a seed, by name.
        eps: the radius that they are attacked within.
        of: whose accuracy, where it is not a network's own; `ON_FEATURES` where there are no labels.
    """
    return Claim(
        statement=statement,
        quantity=f"accuracy{of} under PGD-20 at {eps}",
        names=first_two(arms),
        arms=arms,
        measure=attacked(eps),
        figures=versus(ATTACKED),
        protocol=under_attack,
        tables=lambda found: {"clean and robust accuracy": both(found)},
    )


def under_attack(arms: Mapping[str, Experiment], _: object = None) -> dict[str, Tree]:
    """Return the protocol of a claim on accuracy under attack."""
    attack = f"PGD-20 on cross-entropy and on the margin, {SAMPLES} test samples"
    return {**budget(first(arms)), "attack": attack}


def by_proof(statement: str, arms: Mapping[str, Make], *, eps: str) -> Claim[Experiment, Figures]:
    """Return the claim that more of the first arm's test samples are proven right within a radius (Linf)."""

    def measure(trial: Experiment) -> Figures:
        network, (x, y) = classifier(trained(trial), trial.source), judged(trial)
        with torch.no_grad():
            clean = network(x).argmax(1) == y
        verdicts = certify(network, x, y, Ball("linf", parse_eps(eps)), method="auto", attack=False)
        return {CLEAN: share(clean), CERTIFIED: share(torch.tensor([one.status == "safe" for one in verdicts]))}

    def protocol(trials: Mapping[str, Experiment], _: object) -> dict[str, Tree]:
        return {**budget(first(trials)), "proofs": f"IBP, CROWN and optimised slopes, {SAMPLES} test samples"}

    return Claim(
        statement=statement,
        quantity=f"certified accuracy at {eps}",
        names=first_two(arms),
        arms=arms,
        measure=measure,
        figures=versus(CERTIFIED),
        protocol=protocol,
        tables=lambda found: {"clean and certified accuracy": both(found, CERTIFIED)},
    )


def both(found: Sequence[Mapping[str, Figures]], second: str = ATTACKED) -> Table:
    """Return the table of clean and robust accuracy of every arm, by seed; `second` names the robust one."""
    columns = [f"{name}, {kind}" for name in found[0] for kind in (CLEAN, second)]
    rows = (
        (seed, *(figures[kind] for figures in arms.values() for kind in (CLEAN, second)))
        for seed, arms in enumerate(found)
    )
    return Table(("seed", *columns), tuple(rows), units=dict.fromkeys(columns, "share"))


def by_class(right: Tensor, y: Tensor) -> list[float]:
    """Return the share of true values of each label that occurs, in the labels' order."""
    return [share(right[y == label]) for label in sorted(set(y.tolist()))]
