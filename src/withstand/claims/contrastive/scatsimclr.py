"""The claim of ScatSimCLR."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import nn

from withstand.claims.protocol.claim import Claim, Tables
from withstand.claims.protocol.measures import LINEAR, PROBES, Figures, accuracy, budget, trained, versus
from withstand.core.findings.finding import Table
from withstand.core.part import Tree
from withstand.core.random import permutation
from withstand.data.derived.subset import Subset
from withstand.engine.experiment import Experiment
from withstand.methods.contrastive.scatsimclr import Task
from withstand.recipes.contrastive import scatsimclr, simclr

NO_TASK = "ScatSimCLR, no task"


def claim() -> Claim[Experiment, Figures]:
    """Compare with SimCLR on a ResNet of more parameters, on 1,000 CIFAR-10 pictures, in as many steps.

    Accuracy without the pretext task stands beside.
    """
    return Claim(
        statement="scattering and a small network learn more from few pictures than a larger network of convolutions",
        quantity=LINEAR,
        names=("ScatSimCLR", "SimCLR on a ResNet"),
        arms={
            "ScatSimCLR": lambda seed: _scattering(seed, "rotation"),
            "SimCLR on a ResNet": _resnet,
            NO_TASK: lambda seed: _scattering(seed, "none"),
        },
        measure=lambda trial: {LINEAR: accuracy(trained(trial).encoder, trial, LINEAR)},
        figures=versus(LINEAR),
        protocol=_protocol,
        tables=_tables,
    )


def _scattering(seed: int, pretext: Task) -> Experiment:
    setup = replace(scatsimclr.SETUP, data="cifar10", width=16, depth=4, epochs=20, seed=seed)
    return _few(scatsimclr.experiment(setup, pretext=pretext), seed)


def _resnet(seed: int) -> Experiment:
    setup = replace(simclr.SETUP, data="cifar10", width=8, epochs=20, batch=64, seed=seed)
    return _few(simclr.experiment(setup, temperature=0.5, smallest_crop=0.2), seed)


def _few(made: Experiment, seed: int) -> Experiment:
    """Return an experiment on 1,000 of its pictures."""
    return replace(made, source=Subset(made.source, permutation(len(made.source), seed, "few")[:1000]))


def _protocol(trials: Mapping[str, Experiment], _: object) -> dict[str, Tree]:
    ours, theirs = (_size(trials[name].method.encoder) for name in ("ScatSimCLR", "SimCLR on a ResNet"))
    return {
        **budget(trials["ScatSimCLR"]),
        "probe": PROBES[LINEAR],
        "trainable parameters of the encoders": f"{ours:,} against {theirs:,}",
    }


def _size(network: nn.Module) -> int:
    """Return how many trainable parameters a network has."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def _tables(found: Sequence[Mapping[str, Figures]]) -> Tables:
    rows = tuple((seed, arms[NO_TASK][LINEAR]) for seed, arms in enumerate(found))
    return {"linear accuracy without the pretext task": Table(("seed", NO_TASK), rows, units={NO_TASK: "share"})}
