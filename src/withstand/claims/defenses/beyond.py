"""The claim of BEYOND."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypedDict

from withstand.claims.protocol.claim import Claim, Tables
from withstand.claims.protocol.measures import budget, test_of, trained
from withstand.claims.protocol.robust_measures import classifier
from withstand.core.findings.finding import Cell, Table
from withstand.core.part import Tree, describe
from withstand.core.threat import Ball
from withstand.engine.experiment import Experiment
from withstand.evaluation.defenses.detection.detection import PROTOCOL, Detection
from withstand.recipes.contrastive import simclr
from withstand.recipes.defenses.beyond import baselines, defend, detector
from withstand.recipes.robust import pgd_at

NEIGHBOURS, RANK = 20, 8
"""k and K: the paper's 50 and 20 in the same proportion."""
JUDGE = Detection(
    Ball("linf", 0.1), attacks=("fgsm", "pgd"), samples=300, calibration=300, known=32, steps=15, pictures=0
)
"""Attacks and budget."""
OURS, THEIRS = "BEYOND", "untrained encoder"
AUROC, ATTACKS = "AUROC by detector", "attacks"
ARM = "a classifier and its guards"


class Rows(TypedDict):
    """A table."""

    columns: list[str]
    rows: list[list[Cell]]
    units: dict[str, str]


def claim() -> Claim[tuple[Experiment, Experiment], dict[str, Rows]]:
    """Compare with the same score in an encoder that learnt nothing, by AUROC under PGD; other attacks beside it."""
    return Claim(
        statement="neighbours in an encoder that learnt without labels tell attacked inputs from clean ones",
        quantity="AUROC under PGD at 0.1",
        unit="AUROC",
        names=(OURS, THEIRS),
        arms={ARM: _pair},
        measure=_measure,
        figures=_figures,
        protocol=_protocol,
        tables=_tables,
    )


def _pair(seed: int) -> tuple[Experiment, Experiment]:
    """Return the experiments of the classifier and of the detector's encoder."""
    guarded = pgd_at.experiment(replace(pgd_at.SETUP, width=8, epochs=6, eps="0", seed=seed))
    return guarded, simclr.experiment(replace(simclr.SETUP, width=8, epochs=8, seed=seed), smallest_crop=0.2)


def _measure(pair: tuple[Experiment, Experiment]) -> dict[str, Rows]:
    """Train a classifier and an encoder, and judge the detector beside its baselines."""
    guarded, encoder = pair
    judge, source = replace(JUDGE, seed=encoder.plan.seed), encoder.source
    victim = trained(guarded)
    network = classifier(victim, source)
    guard, control = (
        detector(method, source, network, neighbours=NEIGHBOURS, rank=RANK, seed=judge.seed)
        for method in (trained(encoder), encoder.method)
    )
    others = baselines(network, victim.encoder.eval(), source)
    finding = defend(guard, test_of(encoder), judge, beside={THEIRS: control, **others})
    tables = {name: finding.tables[name] for name in (AUROC, ATTACKS)}
    return {
        name: {
            "columns": list(table.columns),
            "rows": [list(row) for row in table.rows],
            "units": dict(table.units),
        }
        for name, table in tables.items()
    }


def _figures(found: Mapping[str, dict[str, Rows]]) -> tuple[float, float]:
    table = found[ARM][AUROC]
    under_pgd = dict(zip(table["columns"], table["rows"][-1], strict=True))
    return float(str(under_pgd[OURS])), float(str(under_pgd[THEIRS]))


def _protocol(arms: Mapping[str, tuple[Experiment, Experiment]], _: object) -> dict[str, Tree]:
    guarded, encoder = arms[ARM]
    return {
        **budget(encoder),
        "classifier": budget(guarded),
        "neighbours": NEIGHBOURS,
        "rank": RANK,
        "detection": describe(JUDGE),
        **PROTOCOL,
    }


def _tables(found: Sequence[Mapping[str, dict[str, Rows]]]) -> Tables:
    """Return the tables of all seeds as one."""
    return {
        name: Table(
            ("seed", *found[0][ARM][name]["columns"]),
            tuple((seed, *row) for seed, arms in enumerate(found) for row in arms[ARM][name]["rows"]),
            units=found[0][ARM][name]["units"],
        )
        for name in (AUROC, ATTACKS)
    }
