"""Trials: the small, equal-budget trainings that claims are made of."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, TypeVar, get_args

import torch

from withstand.core.errors import ConfigError, DataError
from withstand.core.finding import Table
from withstand.core.part import Tree, describe
from withstand.core.random import isolated
from withstand.core.roles import Model
from withstand.engine import checkpoint
from withstand.engine.experiment import Experiment
from withstand.engine.launch import train
from withstand.engine.optimizers import Optimizer
from withstand.evaluation.features import embed
from withstand.evaluation.probes.knn import vote
from withstand.evaluation.probes.linear import fit_linear
from withstand.recipes.claim import Claim
from withstand.recipes.setups.pictures import PictureSetup

Setup = TypeVar("Setup", bound=PictureSetup)
Found = TypeVar("Found")
Quantity = Literal["kNN accuracy", "linear accuracy"]

K = 20
"""Neighbors that vote in a claim's kNN accuracy."""


def refuse_other_scale(scale: str) -> None:
    """Raise ConfigError for a scale that a claim does not know."""
    if scale != "small":
        raise ConfigError(f"scale {scale!r} is unknown: this claim knows 'small'")


def trained(experiment: Experiment) -> Model:
    """Train in a folder that is thrown away, and return the encoder in eval mode; numerics are `computed_alike`."""
    (encoder,) = stages(experiment, (experiment.plan.epochs,))
    return encoder


def stages(experiment: Experiment, epochs: Sequence[int]) -> Iterator[Model]:
    """Train in a folder that is thrown away, and yield the encoder in eval mode after these epochs, in rising order.

    Each stage resumes the one before. The schedule is that of the whole run only if it does not depend on its length.
    """
    experiment = computed_alike(experiment)
    with TemporaryDirectory(prefix="withstand-") as folder:
        for count in epochs:
            longer = replace(experiment, plan=replace(experiment.plan, epochs=count))
            run = train(longer, Path(folder) / "run", quiet=True)
            checkpoint.load(run.checkpoints, experiment.method)
            yield experiment.method.encoder.eval()


def computed_alike(experiment: Experiment) -> Experiment:
    """Return the experiment with float32 and channels-last where its plan leaves them to the rule.

    Both sides of a claim must compute alike, and so must the next time it is tested, on any machine.
    """
    plan = experiment.plan
    precision = "float32" if plan.precision == "auto" else plan.precision
    layout = "channels-last" if plan.layout == "auto" else plan.layout
    return replace(experiment, plan=replace(plan, precision=precision, layout=layout))


def budget(experiment: Experiment) -> dict[str, Tree]:
    """Return what a trial was given, for a claim's protocol."""
    return {
        "data": f"{experiment.source.name}, {experiment.source.origin}",
        "train samples": len(experiment.source),
        "epochs": experiment.plan.epochs,
        "batch": experiment.plan.batch,
        "method of the last seed": describe(experiment.method),
        "optimizer": describe(experiment.plan.optimizer),
    }


def small(setup: Setup, seed: int, *, epochs: int = 5, batch: int = 256) -> Setup:
    """Return a setup for a trial of about half a minute on a core: CIFAR-10's 5,000 pictures, a ResNet of width 8."""
    return replace(setup, data="cifar10", width=8, epochs=epochs, batch=batch, seed=seed)


def fixed(trial: Experiment, optimizer: Optimizer) -> Experiment:
    """Return a trial with an optimizer in place of its own, in float32, channels last."""
    return replace(trial, plan=replace(trial.plan, optimizer=optimizer, precision="float32", layout="channels-last"))


def side_by_side(
    ours: Callable[[int], Experiment],
    theirs: Callable[[int], Experiment],
    names: tuple[str, str],
    seeds: int,
    measure: Callable[[Experiment], Found],
) -> tuple[dict[str, list[Found]], tuple[Experiment, Experiment]]:
    """Return what is measured of a system and of its baseline, by name and seed, and the last trial of each."""
    found: dict[str, list[Found]] = {name: [] for name in names}
    for seed in range(seeds):
        with isolated(seed, "claim"):
            pair = ours(seed), theirs(seed)
        for name, trial in zip(names, pair, strict=True):
            found[name].append(measure(trial))
    return found, pair


def head_to_head(
    slug: str,
    statement: str,
    ours: Callable[[int], Experiment],
    theirs: Callable[[int], Experiment],
    *,
    names: tuple[str, str],
    seeds: int,
    quantity: Quantity = "kNN accuracy",
    watch: Callable[[Experiment], float] | None = None,
    watched: str = "",
) -> Claim:
    """Train a system and its baseline on equal budgets, seed by seed, and return the claim on a probe's accuracy.

    Args:
        slug: the recipe.
        statement: what the paper claims.
        ours: makes the system's experiment for a seed.
        theirs: makes the baseline's.
        names: how system and baseline are called.
        seeds: how many.
        quantity: which probe's accuracy is compared.
        watch: a figure of a trained experiment that is shown beside.
        watched: what that figure is.
    """

    def measure(trial: Experiment) -> tuple[float, float | None]:
        accuracy = accuracies(trained(trial), trial, (quantity,))[quantity]
        return accuracy, None if watch is None else watch(trial)

    found, pair = side_by_side(ours, theirs, names, seeds, measure)
    system, baseline = (found[name] for name in names)
    rows = [(seed, mine[1], other[1]) for seed, (mine, other) in enumerate(zip(system, baseline, strict=True))]
    rates: dict[str, Tree] = {name: _rate(trial) for name, trial in zip(names, pair, strict=True)}
    probe = (
        "kNN, k 20, T 0.07, cosine" if quantity == "kNN accuracy" else "linear, C chosen on a held-out part of train"
    )
    return Claim(
        slug=slug,
        statement=statement,
        quantity=quantity,
        system=tuple(accuracy for accuracy, _ in system),
        baseline=tuple(accuracy for accuracy, _ in baseline),
        names=names,
        protocol={**budget(pair[0]), "probe": probe, "learning rates": rates},
        tables={watched: Table(("seed", *names), tuple(rows))} if watch is not None else {},
    )


def accuracies(
    encoder: Model, experiment: Experiment, quantities: Sequence[Quantity] = get_args(Quantity)
) -> dict[Quantity, float]:
    """Return test accuracy of the kNN (k 20, T 0.07, cosine) and the linear probe, fitted on the train part."""
    if experiment.test is None or experiment.source.labels is None:
        raise DataError("a claim is measured on labelled data with a test part")
    train_features, test_features = embed(encoder, experiment.source), embed(encoder, experiment.test)
    found: dict[Quantity, float] = {}
    if "kNN accuracy" in quantities:
        votes = vote(train_features.x, train_features.labels, test_features.x, k=K, temperature=0.07, metric="cosine")
        found["kNN accuracy"] = _share(votes.argmax(1), test_features.labels)
    if "linear accuracy" in quantities:
        linear = fit_linear(train_features).predict(test_features.x)
        found["linear accuracy"] = _share(linear, test_features.labels)
    return found


def _rate(trial: Experiment) -> Tree:
    """Return the base learning rate, by group where there are several."""
    rates: dict[str, Tree] = {name: trial.plan.optimizer_of(name).learning_rate for name in trial.method.groups()}
    return next(iter(rates.values())) if len(rates) == 1 else rates


def _share(predicted: torch.Tensor, labels: torch.Tensor) -> float:
    return (predicted == labels).float().mean().item()
