"""The claim of DCL."""

from collections.abc import Mapping, Sequence

import torch

from withstand.claims.protocol.claim import Claim, Tables
from withstand.claims.protocol.measures import (
    KNN,
    PROBES,
    Figures,
    Scale,
    accuracy,
    budget,
    on_cifar10,
    trained,
    versus,
)
from withstand.core.findings.finding import Table
from withstand.core.part import Tree
from withstand.core.random import Draws
from withstand.engine.experiment import Experiment
from withstand.losses.contrast.contrastive import npc_factor
from withstand.methods.contrastive.simclr import SimCLR
from withstand.recipes.contrastive import dcl, simclr

SIZES = (16, 32, 64, 128, 256)
"""Batches at which the factor is measured."""


def claim(scale: Scale = "small") -> Claim[Experiment, Figures]:
    """Compare DCL with SimCLR's loss at batch 32, all else equal, on CIFAR-10.

    The mechanism is measured beside: the factor q_B that multiplies InfoNCE's gradient and that DCL lacks, on
    one trained encoder at several batch sizes.
    """
    return Claim(
        statement="without the positive pair in the denominator, a batch of 32 learns better than with SimCLR's loss",
        quantity=KNN,
        names=("DCL", "SimCLR"),
        arms={
            "DCL": lambda seed: dcl.experiment(on_cifar10(dcl.SETUP, seed, scale, batch=32), temperature=0.1),
            "SimCLR": lambda seed: simclr.experiment(on_cifar10(simclr.SETUP, seed, scale, batch=32), temperature=0.1),
        },
        measure=_measure,
        figures=versus(KNN),
        protocol=_protocol,
        tables=_tables,
    )


def _measure(trial: Experiment) -> Figures:
    method = trained(trial)
    factors = {f"q_B at {size}": _coupling(method, trial, size) for size in SIZES if isinstance(method, SimCLR)}
    return {KNN: accuracy(method.encoder, trial, KNN), **factors}


def _coupling(method: SimCLR, trial: Experiment, size: int) -> float:
    """Return the mean q_B of a trained SimCLR at a batch size."""
    method.head.train()  # as in training: the factor is of its gradient
    batch = trial.source[torch.arange(size)]
    views = trial.view(batch, Draws(trial.plan.seed, batch.index)).views
    with torch.no_grad():
        z1, z2 = (method.head(method.encoder(view)) for view in views)
    return npc_factor(z1, z2, method.temperature).mean().item()


def _protocol(trials: Mapping[str, Experiment], _: object) -> dict[str, Tree]:
    return {**budget(trials["DCL"]), "probe": PROBES[KNN], "learning rate": "the same for both"}


def _tables(found: Sequence[Mapping[str, Figures]]) -> Tables:
    rows = tuple((size, sum(arms["SimCLR"][f"q_B at {size}"] for arms in found) / len(found)) for size in SIZES)
    return {"q_B, InfoNCE's gradient factor": Table(("batch", "q_B"), rows, x="batch", units={"q_B": "ratio"})}
