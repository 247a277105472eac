"""The claim of the survey of mechanisms: most teach something, all on one budget."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import mean
from typing import TypeAlias

import torch

from withstand.claims.protocol.claim import Budget, Claim, Tables
from withstand.claims.protocol.measures import (
    LINEAR,
    PROBES,
    Figures,
    accuracy,
    budget,
    computed_alike,
    test_of,
    trained,
)
from withstand.core.findings.finding import Cell, Table
from withstand.core.part import Tree
from withstand.core.random import Draws, permutation
from withstand.data.derived.subset import Subset
from withstand.engine.experiment import Experiment
from withstand.engine.optimizers import AdamW
from withstand.recipes.catalogue import UNLABELLED, Entry, entries

Trial: TypeAlias = tuple[Experiment, bool]
"""An experiment, and whether it is trained or left as it is."""
UNTRAINED = "untrained"
MARGIN = 0.02
"""What a mechanism must add to an untrained encoder's accuracy to count."""
MOST = 0.8
"""The share of mechanisms that are to count."""
PICTURES, TEST, EPOCHS, BATCH = 3000, 1000, 8, 64
VIEWS, SECONDS = "views seen", "seconds"


def mechanisms() -> list[Entry]:
    """Return the recipes of the families masked and pretext that learn from pictures without labels."""
    return [
        item
        for item in entries()
        if item.family in ("masked", "pretext") and item.facts.get("learns from", "").startswith(UNLABELLED)
    ]


def claim() -> Claim[Trial, Figures]:
    """Compare the share of mechanisms that are above an untrained encoder by two points with four in five.

    All learn from the same CIFAR-10 pictures with one small ViT, in as many steps of one optimizer, and are read by the
    same linear probe. Beside accuracies stand the views that each has seen and the time that it took.
    """
    arms = {item.slug: _arm(item) for item in mechanisms()}
    return Claim(
        statement="four in five mechanisms of learning without labels teach a small vision transformer something",
        quantity="share of mechanisms",
        names=("above an untrained encoder by 2 points", "four in five"),
        arms={UNTRAINED: _arm(mechanisms()[0], train=False), **arms},
        measure=measure,
        figures=lambda found: (share_above(found), MOST),
        protocol=_protocol,
        tables=_tables,
        material=0.05,
        budget=Budget(least=2, most=3),
    )


def share_above(found: Mapping[str, Figures]) -> float:
    """Return the share of mechanisms whose accuracy is above the untrained encoder's by `MARGIN` or more."""
    control = found[UNTRAINED][LINEAR]
    return mean(float(figures[LINEAR] - control >= MARGIN) for name, figures in found.items() if name != UNTRAINED)


def _arm(item: Entry, *, train: bool = True) -> Callable[[int], Trial]:
    def make(seed: int) -> Trial:
        module = item.module()
        setup = replace(
            module.SETUP, data="cifar10", model="vit", width=48, depth=2, epochs=EPOCHS, batch=BATCH, seed=seed
        )
        trial: Experiment = module.experiment(setup)
        test = test_of(trial)
        few = Subset(trial.source, permutation(len(trial.source), seed, "survey")[:PICTURES])
        judged = Subset(test, permutation(len(test), seed, "survey")[:TEST])
        plan = replace(trial.plan, optimizer=AdamW(2e-3, 0.05))
        return computed_alike(replace(trial, source=few, test=judged, plan=plan)), train

    return make


def measure(arm: Trial) -> Figures:
    """Return the linear probe's accuracy, the views that were learnt from, and the processor's seconds."""
    trial, train = arm
    if not train:
        return {LINEAR: accuracy(trial.method.encoder.eval(), trial, LINEAR), VIEWS: 0, SECONDS: 0}
    began = time.process_time()
    method = trained(trial)
    spent = time.process_time() - began
    seen = trial.plan.epochs * trial.steps_per_epoch() * trial.plan.batch * _views(trial)
    return {LINEAR: accuracy(method.encoder, trial, LINEAR), VIEWS: seen, SECONDS: spent}


def _views(trial: Experiment) -> int:
    """Return how many views a step makes of each picture."""
    return len(trial.view(trial.source[[0]], Draws(0, torch.zeros(1, dtype=torch.int64))).views)


def _protocol(arms: Mapping[str, Trial], found: Sequence[Mapping[str, Figures]]) -> dict[str, Tree]:
    trial, _ = arms["mae"]
    return {
        **budget(trial),
        "probe": PROBES[LINEAR],
        "margin": MARGIN,
        "mechanisms": len(arms) - 1,
        "seconds": "of the processor, in training alone; a view may be passed through the encoder several times",
    }


def _tables(found: Sequence[Mapping[str, Figures]]) -> Tables:
    """Return all mechanisms, best first, means over seeds."""
    said = {item.slug: ", ".join(item.said("mechanism")) for item in mechanisms()}
    control = [arms[UNTRAINED][LINEAR] for arms in found]
    rows: list[tuple[Cell, ...]] = []
    for name in found[0]:
        values = [arms[name][LINEAR] for arms in found]
        gains = [value - base for value, base in zip(values, control, strict=True)]
        count = sum(gain >= MARGIN for gain in gains)
        spent = [mean(arms[name][kind] for arms in found) for kind in (VIEWS, SECONDS)]
        rows.append((name, said.get(name, "none"), mean(values), mean(gains), count, *spent))
    rows.sort(key=lambda row: -float(str(row[2])))
    columns = ("recipe", "mechanism", LINEAR, "gain", f"seeds above by {MARGIN:g}", VIEWS, SECONDS)
    units = {LINEAR: "share", "gain": "share", SECONDS: "s"}
    return {"mechanisms on one budget, means over seeds": Table(columns, tuple(rows), units=units)}
