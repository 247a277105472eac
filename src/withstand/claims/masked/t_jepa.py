"""The claim of T-JEPA."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import mean
from typing import TypedDict

import torch

from withstand.claims.protocol.claim import Claim, Tables
from withstand.claims.protocol.measures import budget, test_of, trained
from withstand.core.errors import DataError
from withstand.core.findings.finding import Cell, Table
from withstand.core.part import Tree
from withstand.core.roles import Source
from withstand.engine.experiment import Experiment
from withstand.evaluation.features import Embedder
from withstand.evaluation.structured.table_heads import HeadName
from withstand.evaluation.structured.table_probe import TableHeads, chosen, spread
from withstand.methods.masked.t_jepa import monitors
from withstand.models.tables.encoder import TableEncoder
from withstand.recipes.masked.t_jepa import SETUP, experiment

FEW = 100
"""Labelled rows where labels are few."""
MONITORS = ("row_std", "variance_of_means", "pair_distance", "pair_kl")
"""What the method logs of the teacher's tokens; near 0 where all rows look the same."""
ADULT, CALIFORNIA = "adult", "california"


class Worth(TypedDict):
    """What is measured of the encoders of one table."""

    measured: str
    columns: list[str]
    units: dict[str, str]
    heads: list[list[Cell]]
    """Rows below (labelled rows, the head, its scores)."""
    numbers: dict[str, float]
    """Scores with all labelled rows, by name."""
    watched: list[list[Cell]]
    """Spread of features and collapse monitors, a row an encoder."""


def claim() -> Claim[tuple[Experiment, Experiment], Worth]:
    """Compare a perceptron on frozen T-JEPA features of Adult with the same on raw columns.

    Beside it, on Adult and California: heads with few labels and with 8,000, boosting, an untrained encoder's features,
    which tell what training adds, and the collapse monitors with [REG] and without.
    """
    return Claim(
        statement="a perceptron does better on frozen T-JEPA features than on raw columns",
        quantity="accuracy of a perceptron",
        names=("T-JEPA features", "raw columns"),
        arms={ADULT: _arm(ADULT), CALIFORNIA: _arm(CALIFORNIA)},
        measure=_measure,
        figures=lambda found: (
            found[ADULT]["numbers"]["accuracy, mlp on features"],
            found[ADULT]["numbers"]["accuracy, mlp on raw columns"],
        ),
        protocol=_protocol,
        tables=_tables,
    )


def _arm(data: str) -> Callable[[int], tuple[Experiment, Experiment]]:
    """Return what makes the trials with [REG] and without."""
    return lambda seed: (_trial(data, seed), _trial(data, seed, reg_tokens=0))


def _trial(data: str, seed: int, *, reg_tokens: int = 1) -> Experiment:
    """Return a trial: a narrow network, and a momentum that lets the teacher move in so few steps."""
    setup = replace(
        SETUP,
        data=data,
        hidden=32,
        layers=3,
        epochs=4,
        batch=256,
        learning_rate=2e-3,
        reg_tokens=reg_tokens,
        seed=seed,
    )
    return experiment(setup, predictor_hidden=16, ema=0.99)


def _measure(pair: tuple[Experiment, Experiment]) -> Worth:
    trial, without = pair
    control = trial.method.encoder.eval()
    encoder, bare = trained(trial).encoder, trained(without).encoder
    heads: list[list[Cell]] = []
    for labelled in (FEW, None):
        names: tuple[HeadName, ...] = ("linear", "mlp", "boosting") if labelled is None else ("linear", "mlp")
        judge = TableHeads(names, labelled, seed=trial.plan.seed)
        finding = judge.evaluate(encoder, trial.source, control=control)
        measured, table = next(iter(finding.tables.items()))
        heads.extend([labelled or "all", *row] for row in table.rows)
    arms = {"with [REG]": encoder, "without": bare, "untrained": control}
    return {
        "measured": measured,
        "columns": list(table.columns),
        "units": dict(table.units),
        "heads": heads,
        "numbers": {
            f"{measured}, {name} {column}": float(str(value))
            for name, *values in table.rows
            for column, value in zip(table.columns[1:], values, strict=True)
        },
        "watched": [[arm, *_watched(one, test_of(trial))] for arm, one in arms.items()],
    }


def _watched(encoder: Embedder, rows: Source) -> tuple[float, ...]:
    """Return how features spread across rows, and the collapse monitors of the tokens, on 2,000 test rows."""
    if not isinstance(encoder, TableEncoder):
        raise DataError("the monitors are of a table's encoder")
    some = chosen(rows, 2_000, 0)
    with torch.no_grad():
        found = monitors(encoder.tokens(some[range(len(some))].x))
    return (spread(encoder, rows), *(float(found[name]) for name in MONITORS))


def _protocol(
    arms: Mapping[str, tuple[Experiment, Experiment]], found: Sequence[Mapping[str, Worth]]
) -> dict[str, Tree]:
    means: dict[str, dict[str, float]] = {
        data: {name: mean(worths[data]["numbers"][name] for worths in found) for name in found[0][data]["numbers"]}
        for data in arms
    }
    adult, california = means[ADULT], means[CALIFORNIA]
    every: dict[str, Tree] = {data: dict(numbers) for data, numbers in means.items()}
    return {
        **budget(arms[ADULT][0]),
        "head": "two hidden layers of 128, stopped on held-out training rows",
        "mean of the seeds, 8,000 labelled rows": every,
        "what training adds to an untrained encoder": {
            "adult, accuracy of a perceptron": adult["accuracy, mlp on features"]
            - adult["accuracy, mlp on untrained features"],
            "california, RMSE of a perceptron, lower is better": california["RMSE, mlp on features"]
            - california["RMSE, mlp on untrained features"],
        },
    }


def _tables(found: Sequence[Mapping[str, Worth]]) -> Tables:
    tables: Tables = {}
    for data, first in found[0].items():
        heads = tuple((seed, *row) for seed, worths in enumerate(found) for row in worths[data]["heads"])
        watched = tuple((seed, *row) for seed, worths in enumerate(found) for row in worths[data]["watched"])
        columns = ("seed", "labelled rows", *first["columns"])
        tables[f"{data}, {first['measured']} by head"] = Table(columns, heads, units=first["units"])
        tables[f"{data}, collapse monitors"] = Table(
            ("seed", "encoder", "spread of features", *MONITORS),
            watched,
            units=dict.fromkeys(("spread of features", *MONITORS), "ratio"),
        )
    return tables
