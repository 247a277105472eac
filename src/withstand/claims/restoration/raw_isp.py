"""The claim of RAW-ISP."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from withstand.attacks.inputs.gradient import PGD
from withstand.claims.protocol.claim import Claim, Tables
from withstand.claims.protocol.measures import Figures, beside, budget, first, share, test_of, trained
from withstand.core.errors import DataError
from withstand.core.findings.finding import Table
from withstand.core.part import Tree
from withstand.core.random import permutation
from withstand.core.roles import network_of
from withstand.core.threat import Ball
from withstand.core.victims.victim import Victim
from withstand.defenses.filters import JPEG
from withstand.defenses.purifier import Purifier
from withstand.engine.experiment import Experiment
from withstand.evaluation.defenses.purification import Purification
from withstand.recipes.pretext import sla
from withstand.recipes.restoration.raw_isp import SETUP, experiment

OURS, BASELINE = "RAW-ISP", "JPEG at its best quality"
QUALITIES = (20, 35, 50, 75, 90)
EPS, RADIUS = "8/255", 8 / 255
SAMPLES, STEPS = 300, 20
JUDGE = Purification(Ball("linf", RADIUS), samples=100, steps=10, queries=50, pictures=1)
CLEAN = "clean accuracy"


def claim() -> Claim[Experiment, Figures]:
    """Compare filters by the accuracy that a classifier keeps on pictures that were attacked without the filter.

    On CIFAR-10 within 8/255: PGD on the bare classifier, whose pictures are then cleaned. JPEG's quality is the best of
    five for these very pictures. Beside it: the clean accuracies, and the accuracy against who knows the filter, which
    is the one that a user can count on.
    """
    return Claim(
        statement="the way to RAW and back cleans pictures that were attacked on the bare classifier better than JPEG",
        quantity=f"accuracy under PGD-{STEPS} on the bare classifier, Linf {EPS}",
        names=(OURS, BASELINE),
        arms={OURS: trial},
        measure=measure,
        figures=lambda found: (found[OURS][OURS], max(found[OURS][f"JPEG {quality}"] for quality in QUALITIES)),
        protocol=_protocol,
        tables=_tables,
    )


def trial(seed: int) -> Experiment:
    """Return a trial of six epochs on CIFAR-10, the last two of them jointly."""
    setup = replace(SETUP, data="cifar10", epochs=2, seed=seed)
    return experiment(setup, first_epochs=4, width=12)


def classifier(seed: int) -> Experiment:
    """Return a plain classifier of six epochs."""
    setup = replace(sla.SETUP, data="cifar10", width=8, epochs=6, batch=SETUP.batch, seed=seed)
    return sla.experiment(setup, mode="plain")


def measure(trial: Experiment) -> Figures:
    """Return a classifier's accuracy behind each filter on attacked and on clean pictures, and against who knows it."""
    victim = Victim(network_of(trained(classifier(trial.plan.seed)), "classifier").eval())
    ours = Purifier(victim, network_of(trained(trial), "purifier").eval())
    test = test_of(trial)
    batch = test[permutation(len(test), trial.plan.seed, "judged")[:SAMPLES]]
    x, y = victim.ready(batch.x), batch.y
    if y is None:
        raise DataError("a claim on accuracy is measured on labelled pictures")
    attacked = PGD(Ball("linf", RADIUS), steps=STEPS)(victim, x, y, generator=trial.plan.seed).x
    guards = {OURS: ours, **{f"JPEG {quality}": JPEG(victim, quality) for quality in QUALITIES}}
    found = {name: share(guard(attacked).logits.argmax(1) == y) for name, guard in guards.items()}
    found |= {f"{name}, clean": share(guard(x).logits.argmax(1) == y) for name, guard in guards.items()}
    found |= {"no filter": _bare(victim, attacked, y), "no filter, clean": _bare(victim, x, y)}
    judged = JUDGE.evaluate(ours, test).figures
    found["white-box accuracy"] = next(f.value for name, f in judged.items() if name.startswith("white-box"))
    return found


def _bare(victim: Victim, x: Tensor, y: Tensor) -> float:
    with victim.held(), torch.no_grad():
        return share(victim.output(x.clone()).argmax(1) == y)


def _protocol(arms: Mapping[str, Experiment], found: Sequence[Mapping[str, Figures]]) -> dict[str, Tree]:
    return {**budget(first(arms)), "eps": EPS, "samples": SAMPLES, "steps": STEPS, "JPEG": list(QUALITIES)}


def _tables(found: Sequence[Mapping[str, Figures]]) -> Tables:
    names = [name for name in found[0][OURS] if not name.endswith(", clean") and name != "white-box accuracy"]
    rows = tuple(
        (seed, name, arms[OURS][name], arms[OURS][f"{name}, clean"])
        for seed, arms in enumerate(found)
        for name in names
    )
    units = dict.fromkeys(("attacked", CLEAN), "share")
    return {
        "filters": Table(("seed", "filter", "attacked", CLEAN), rows, units=units),
        "against who knows the filter": beside(found, "white-box accuracy", "share"),
    }
