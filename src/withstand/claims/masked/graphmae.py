"""The claim of GraphMAE."""

from collections.abc import Mapping, Sequence
from statistics import mean, stdev

from withstand.claims.protocol.claim import Claim, Tables
from withstand.claims.protocol.measures import Figures, budget, trained
from withstand.core.findings.finding import Cell, Finding, Table
from withstand.core.part import Tree
from withstand.core.roles import Model
from withstand.engine.experiment import Experiment
from withstand.recipes.masked.graphmae import experiment

OURS, THEIRS, SHOWN = "scaled cosine error", "squared error", "codes not hidden"
PROBED, UNTRAINED, RAW = "accuracy", "accuracy, untrained", "accuracy, raw words"
RATES = (1e-3, 3e-3, 1e-2)
"""The squared error's learning rates, of which the best speaks for it."""


def claim() -> Claim[list[Experiment], Figures]:
    """Compare the scaled cosine error with the squared error on Cora, all else equal, by GraphMAE's node probe.

    Beside it: decoding without hiding the codes once more, an untrained encoder, and the raw words. Features of rows
    of sum 1 are small, so a squared error gets a larger learning rate too: its best of three speaks for it.
    """
    return Claim(
        statement="the scaled cosine error learns better node representations than the squared error",
        quantity="node probe accuracy after the last epoch",
        names=("GraphMAE, scaled cosine error", "GraphMAE, squared error at the best of three rates"),
        arms={OURS: _sce, THEIRS: _mse, SHOWN: _not_hidden},
        measure=_measure,
        figures=lambda found: (found[OURS][PROBED], found[THEIRS][PROBED]),
        protocol=_protocol,
        tables=_tables,
    )


def _sce(seed: int) -> list[Experiment]:
    return [experiment(data="cora", epochs=60, hidden=256, seed=seed)]


def _mse(seed: int) -> list[Experiment]:
    return [experiment(data="cora", epochs=60, hidden=256, seed=seed, loss="mse", learning_rate=rate) for rate in RATES]


def _not_hidden(seed: int) -> list[Experiment]:
    return [experiment(data="cora", epochs=60, hidden=256, seed=seed, remask=False)]


def _measure(trials: list[Experiment]) -> Figures:
    """Return the node probe's accuracy after the last epoch, of the best of the trials, and what it is without."""
    best = max(_probed(trained(trial).encoder, trial).numbers[PROBED] for trial in trials)
    control = _probed(trials[0].method.encoder.eval(), trials[0]).numbers
    return {PROBED: best, UNTRAINED: control[PROBED], RAW: control["accuracy, raw features, same probe"]}


def _probed(encoder: Model, trial: Experiment) -> Finding:
    return trial.judges[0].evaluate(encoder, trial.source)


def _protocol(arms: Mapping[str, list[Experiment]], _: object) -> dict[str, Tree]:
    (trial,) = arms[OURS]
    found = _probed(trial.method.encoder.eval(), trial)
    return {**budget(trial), "probe": found.protocol["protocol"], "split": "public"}


def _tables(found: Sequence[Mapping[str, Figures]]) -> Tables:
    rows: list[tuple[Cell, ...]] = []
    for name in found[0]:
        values = [arms[name][PROBED] for arms in found]
        rows.append((name, mean(values), stdev(values)))
    control = found[-1][OURS]
    rows += [("untrained encoder", control[UNTRAINED], None), ("raw words", control[RAW], None)]
    return {"what it takes": Table(("arm", "accuracy", "accuracy ±"), tuple(rows), units={"accuracy": "share"})}
