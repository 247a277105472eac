"""The claim of LAF."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from withstand.claims.protocol.claim import Claim, Tables
from withstand.claims.protocol.measures import Figures, beside, budget, first, test_of, trained
from withstand.core.part import Tree
from withstand.engine.experiment import Experiment
from withstand.evaluation.continual.unlearning import Unlearning
from withstand.recipes.editing.laf import SETUP, experiment
from withstand.recipes.robust import pgd_at

OURS, HIGH = "LAF", "LAF, temperature 20"
BEFORE = "before forgetting"
CLASSIFIERS = ("before", "after", "retrained")
FORGOTTEN = 3
"""The class that is forgotten."""


def claim() -> Claim[Experiment, Figures]:
    """Compare, on digits of which one class is forgotten, how near a classifier is to a retrained one.

    Nearness is 1 less the mean gap of accuracies: on remaining and forgotten training samples, and on test samples of
    remaining and of forgotten classes. Beside it: a higher temperature, which forgets less; each accuracy; a membership
    attack; and how many steps it takes to relearn.
    """
    return Claim(
        statement="forgetting a class without labels brings a classifier near to one that was retrained without it",
        quantity="nearness to the retrained classifier",
        names=(OURS, BEFORE),
        arms={OURS: trial, HIGH: lambda seed: trial(seed, temperature=20.0)},
        measure=measure,
        figures=lambda found: (found[OURS]["nearness, after"], found[OURS]["nearness, before"]),
        protocol=_protocol,
        tables=_tables,
    )


def trial(seed: int, *, temperature: float = 5.0) -> Experiment:
    """Return a trial on a small convolutional network, plainly trained for 20 epochs."""
    setup = replace(
        pgd_at.SETUP, data="digits", model="convnet", depth=1, width=16, epochs=20, batch=64, eps="0", seed=seed
    )
    plain = pgd_at.experiment(setup)
    forgetting = replace(SETUP, first=plain, forget=f"class:{FORGOTTEN}", seed=seed)
    return experiment(forgetting, temperature=temperature, retrain=True)


def measure(trial: Experiment) -> Figures:
    """Return every figure of the three classifiers, and how near two of them are to the third."""
    judge = trial.judges[0]
    assert isinstance(judge, Unlearning)  # as the recipe has it
    finding = judge.evaluate(trained(trial), trial.source, test=test_of(trial))
    table = finding.tables["classifiers"]
    found: Figures = {}
    for row in table.rows:
        name, *cells = row
        for column, cell in zip(table.columns[1:], cells, strict=True):
            found[f"{column}, {name}"] = float(str(cell))
    accuracies = list(judge.parts(test_of(trial)))
    for name in CLASSIFIERS[:2]:
        gaps = [abs(found[f"{part}, {name}"] - found[f"{part}, retrained"]) for part in accuracies]
        found[f"nearness, {name}"] = 1 - sum(gaps) / len(gaps)
    return found


def _protocol(arms: Mapping[str, Experiment], _: object) -> dict[str, Tree]:
    return {**budget(first(arms)), "forgotten": f"class {FORGOTTEN}"}


def _tables(found: Sequence[Mapping[str, Figures]]) -> Tables:
    shown = ("remaining", "forgotten", "test", "test, forgotten classes", "membership attack")
    shares = [f"{part}, {name}" for part in shown for name in CLASSIFIERS]
    steps = [f"steps to relearn, {name}" for name in CLASSIFIERS]
    return {name: beside(found, name, "share") for name in shares} | {
        name: beside(found, name, "count") for name in steps
    }
