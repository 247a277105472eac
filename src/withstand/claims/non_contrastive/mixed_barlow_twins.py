"""The claim of Mixed Barlow Twins."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import mean, stdev

import torch
from torch import nn

from withstand.claims.protocol.claim import Claim, Tables
from withstand.claims.protocol.measures import (
    KNN,
    PROBES,
    Figures,
    accuracy,
    beside,
    budget,
    on_cifar10,
    stages,
    test_of,
    versus,
)
from withstand.core.findings.finding import Table
from withstand.core.part import Tree
from withstand.core.random import Draws, permutation
from withstand.core.roles import Method
from withstand.data.derived.subset import Subset
from withstand.engine.experiment import Experiment
from withstand.engine.optimizers import Adam
from withstand.engine.schedules import Constant
from withstand.losses.agreement.mixing import mixed_barlow_twins_terms
from withstand.recipes.non_contrastive.mixed_barlow_twins import SETUP, experiment

STAGES = (10, 20, 40)
"""Epochs after which the long training is probed."""
ERROR = "squared difference of correlations of mixed test pictures"


def claim() -> Claim[tuple[Experiment, Experiment], Figures]:
    """Compare with Barlow Twins, the same without mixing, at the end of 40 epochs on 1,000 CIFAR-10 pictures.

    Both are probed on the way, with all 5,000 training pictures as neighbours, so that a peak and a fall would show.
    How far mixed test pictures are embedded from where their mixture should be stands beside: what is trained. The
    optimizer is the paper's, Adam, at a constant rate, so that each stage is a run of its own.
    """
    return Claim(
        statement="after long training on few pictures, learning from mixed ones too has taught more",
        quantity=KNN,
        names=("mixed", "Barlow Twins"),
        arms={"mixed": lambda seed: _long(seed, 4.0), "Barlow Twins": lambda seed: _long(seed, 0.0)},
        measure=_measure,
        figures=versus(_after(STAGES[-1])),
        protocol=_protocol,
        tables=_tables,
    )


def _long(seed: int, mix_weight: float) -> tuple[Experiment, Experiment]:
    """Return the experiment on few pictures, and the one on all that its probes take their neighbours from."""
    setup = on_cifar10(SETUP, seed, epochs=STAGES[-1], batch=64)
    whole = experiment(setup, dim=64, redundancy_weight=0.05, mix_weight=mix_weight, scale=1.0)
    few = Subset(whole.source, permutation(len(whole.source), seed, "few")[:1000])
    plan = replace(whole.plan, optimizer=Adam(1e-3, weight_decay=1e-6), schedule=Constant())
    return replace(whole, source=few, plan=plan), whole


def _after(epochs: int) -> str:
    return f"{KNN} after {epochs} epochs"


def _measure(pair: tuple[Experiment, Experiment]) -> Figures:
    trial, whole = pair
    found: Figures = {}
    for epochs, method in zip(STAGES, stages(trial, STAGES), strict=True):
        found[_after(epochs)] = accuracy(method.encoder, whole, KNN)
    return found | {ERROR: _mixing_error(method, trial)}


@torch.no_grad()
def _mixing_error(method: Method, trial: Experiment) -> float:
    """Return the mixing term on the first 512 test samples, half of each mixed in."""
    test = test_of(trial)
    batch = test[range(min(512, len(test)))]
    one, two = trial.view(batch, Draws(trial.plan.seed, batch.index)).views
    order = torch.arange(len(one)).roll(1)
    head = method.projector()
    assert head is not None
    network = nn.Sequential(method.encoder, head).eval()
    z1, z2, mixed = (network(x) for x in (one, two, (one + two[order]) / 2))
    return float(mixed_barlow_twins_terms(z1, z2, mixed, order, 0.5).mixing)


def _protocol(pairs: Mapping[str, tuple[Experiment, Experiment]], _: object) -> dict[str, Tree]:
    trial, _whole = pairs["mixed"]
    return {**budget(trial), "epochs": STAGES[-1], "probe": f"{PROBES[KNN]}, 5,000 neighbours"}


def _tables(found: Sequence[Mapping[str, Figures]]) -> Tables:
    course = []
    for epochs in STAGES:
        by_arm = [[arms[name][_after(epochs)] for arms in found] for name in found[0]]
        course.append((epochs, *(figure(values) for values in by_arm for figure in (mean, stdev))))
    columns = [column for name in found[0] for column in (name, f"{name} ±")]
    units = dict.fromkeys(found[0], "share")
    over_epochs = Table(("epochs", *columns), tuple(course), x="epochs", units=units)
    return {f"{KNN} over epochs": over_epochs, ERROR: beside(found, ERROR, "squared distance")}
