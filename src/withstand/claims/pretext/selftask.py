"""The claim of SelfTask."""

from collections.abc import Callable, Mapping, Sequence
from statistics import mean, stdev

import torch
from scipy.stats import ttest_rel

from withstand.claims.protocol.claim import Budget, Claim, Tables
from withstand.claims.protocol.measures import Figures, budget, test_of, trained
from withstand.core.findings.finding import Cell, Table
from withstand.core.part import Tree
from withstand.core.roles import network_of
from withstand.engine.experiment import Experiment
from withstand.recipes.pretext.selftask import TaskName, experiment

ACCURACY = "test accuracy after the last epoch"
TASKS: tuple[TaskName, ...] = ("none", "context-iterative", "context-propagation", "distance")


def claim() -> Claim[Experiment, Figures]:
    """Compare with the plain classifier on Cora with five labels of each class, drawn anew for each seed."""
    return Claim(
        statement="told where classes lie round each node, a classifier learns more from five labels of each class",
        quantity=ACCURACY,
        names=("SelfTask, context labels of iterative classification", "plain graph convolutional network"),
        arms={task: _arm(task) for task in TASKS},
        measure=_measure,
        figures=lambda found: (found["context-iterative"][ACCURACY], found["none"][ACCURACY]),
        protocol=_protocol,
        tables=_tables,
        budget=Budget(least=10, most=20),
    )


def _arm(task: TaskName) -> Callable[[int], Experiment]:
    return lambda seed: experiment(task=task, per_class=5, seed=seed)


def _measure(trial: Experiment) -> Figures:
    method, test = trained(trial), test_of(trial)
    batch = test[range(len(test))]
    with torch.no_grad():
        predicted = network_of(method, "classifier").eval()(batch.x).argmax(1)
        return {ACCURACY: float((predicted == batch.y).double().mean())}


def _protocol(trials: Mapping[str, Experiment], _: object) -> dict[str, Tree]:
    told: dict[str, Tree] = {"labels": "5 of each class, out of the public train part", "weights": "as published"}
    return {**budget(trials["distance"]), **told}


def _tables(found: Sequence[Mapping[str, Figures]]) -> Tables:
    by_task = {task: [arms[task][ACCURACY] for arms in found] for task in TASKS}
    rows: list[tuple[Cell, ...]] = []
    for task, values in by_task.items():
        gains = [ours - plain for ours, plain in zip(values, by_task["none"], strict=True)]
        paired = None if task == "none" else float(ttest_rel(values, by_task["none"]).pvalue)
        rows.append((task, mean(values), stdev(values), mean(gains), sum(gain >= 0 for gain in gains), paired))
    columns = ("task", "test accuracy", "test accuracy ±", "gain", "seeds that do not lose", "p of a paired t-test")
    units = {"test accuracy": "share", "gain": "share", "p of a paired t-test": "ratio"}
    return {"tasks": Table(columns, tuple(rows), units=units)}
