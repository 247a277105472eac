"""The claim of table integration: adversarial positives make a matcher lose less to typos."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypedDict

from withstand.claims.protocol.claim import Claim, Tables
from withstand.claims.protocol.measures import budget, first, test_of, trained
from withstand.core.errors import DataError
from withstand.core.findings.finding import Cell, Table
from withstand.core.part import Tree
from withstand.core.roles import network_of
from withstand.data.pairs.source import RecordSource
from withstand.engine.experiment import Experiment
from withstand.evaluation.structured.integration.judges import TFIDF, judged, tfidf
from withstand.evaluation.structured.integration.selfmade import self_made
from withstand.models.tables.records import RecordMatcher
from withstand.recipes.contrastive.table_integration import SETUP, experiment

DATA = "itunes-amazon"
TYPOS = 2
LONG = 0.5
"""Length of the adversary's step: the published 0.01 is a hair beside a value's vector of length 1."""


class Worth(TypedDict):
    """What is measured of a matcher: F1 and average precision, clean and with two typos a value, and TF-IDF's."""

    f1: list[float]
    precision: list[float]
    tfidf_f1: list[float]
    tfidf_precision: list[float]


def claim() -> Claim[Experiment, Worth]:
    """Compare the F1 that two typos in every value cost, with adversarial positives and without.

    Beside it the step's published length, and TF-IDF, whose threshold comes from the same self-made pairs.
    """
    return Claim(
        statement="a matcher that also learns from adversarial positives loses less F1 to typos",
        quantity=f"F1 under {TYPOS} typos a value, less clean F1",
        names=("adversarial positives", "without"),
        arms={
            "adversarial positives": _arm(eps=LONG),
            "without": _arm(adversarial=0.0),
            "a step of 0.01, as published": _arm(),
        },
        measure=_measure,
        figures=lambda found: (_kept(found["adversarial positives"]), _kept(found["without"])),
        protocol=_protocol,
        tables=_tables,
    )


def _kept(worth: Worth) -> float:
    return worth["f1"][1] - worth["f1"][0]


def _arm(*, adversarial: float = 0.5, eps: float = 0.01) -> Callable[[int], Experiment]:
    """Return what makes a trial of few epochs; all arms see the same batches."""

    def make(seed: int) -> Experiment:
        return experiment(replace(SETUP, data=DATA, epochs=4, seed=seed), adversarial=adversarial, eps=eps)

    return make


def _measure(trial: Experiment) -> Worth:
    matcher, records = network_of(trained(trial), "matcher"), test_of(trial)
    if not isinstance(matcher, RecordMatcher) or not isinstance(records, RecordSource):
        raise DataError("this claim is about a matcher of records")
    made = self_made(records)
    clean = judged(matcher, records, made=made)
    worse = judged(matcher, records, made=made, misspelt=TYPOS, threshold=clean.threshold)
    plain = [tfidf(records, made, misspelt=count) for count in (0, TYPOS)]
    return {
        "f1": [clean.f1, worse.f1],
        "precision": [clean.precision, worse.precision],
        "tfidf_f1": [one.f1 for one in plain],
        "tfidf_precision": [one.precision for one in plain],
    }


def _protocol(arms: Mapping[str, Experiment], found: Sequence[Mapping[str, Worth]]) -> dict[str, Tree]:
    return {
        **budget(first(arms)),
        "typos": f"{TYPOS} in every value of each known pair's second record",
        "threshold": "from self-made pairs of clean test records, without labels; typos leave it as it is",
        "step of the adversary": LONG,
    }


def _tables(found: Sequence[Mapping[str, Worth]]) -> Tables:
    columns = ("seed", "matcher", "F1", f"F1, {TYPOS} typos", "average precision", f"average precision, {TYPOS} typos")
    rows: list[tuple[Cell, ...]] = []
    for seed, arms in enumerate(found):
        rows += [(seed, name, *worth["f1"], *worth["precision"]) for name, worth in arms.items()]
        some = first(arms)
        rows.append((seed, TFIDF, *some["tfidf_f1"], *some["tfidf_precision"]))
    return {"matchers": Table(columns, tuple(rows), units=dict.fromkeys(columns[2:], "share"))}
