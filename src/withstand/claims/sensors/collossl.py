"""The claim of ColloSSL."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from sklearn.metrics import f1_score

from withstand.claims.protocol.claim import Claim, Tables
from withstand.claims.protocol.measures import (
    Figures,
    Make,
    beside,
    budget,
    first,
    first_two,
    judge_of,
    test_of,
    trained,
    versus,
)
from withstand.core.findings.finding import Table
from withstand.core.part import Tree
from withstand.core.roles import Model, network_of
from withstand.data.derived.subset import labelled
from withstand.engine.experiment import Experiment
from withstand.evaluation.features import embed
from withstand.evaluation.probes.linear import fit_linear
from withstand.evaluation.representation.device_agreement import GAP, DeviceAgreement
from withstand.models.windows.tpn import AnchorEncoder
from withstand.recipes.sensors.collossl import SETUP, experiment

USERS = ("adelmo", "carlitos", "charles", "eurico", "jeremy", "pedro")
"""Who lifted weights; each seed leaves another one out."""
F1 = "macro F1 of a linear probe"
UNTRAINED = f"{F1}, untrained"


def claim() -> Claim[Experiment, Figures]:
    """Compare the paper's sign of the cosine with the official code's, by codes of a user who was never seen.

    Macro F1 of a linear probe on the anchor's codes stands beside, and that of the untrained encoder.
    """
    arms: dict[str, Make] = {"ColloSSL": _arm(published_sign=False), "the code's sign": _arm(published_sign=True)}
    return Claim(
        statement="devices' windows of one moment have nearer codes than those of different moments, on an unseen user",
        quantity=GAP,
        names=first_two(arms),
        arms=arms,
        measure=_measure,
        figures=versus(GAP),
        protocol=_protocol,
        tables=_tables,
        unit="cosine",
    )


def _arm(*, published_sign: bool) -> Callable[[int], Experiment]:
    def make(seed: int) -> Experiment:
        setup = replace(
            SETUP,
            data="wle",
            held_out=(USERS[seed % len(USERS)],),
            anchor="forearm",
            seconds=1.0,
            overlap=0.75,
            width=24,
            epochs=15,
            batch=64,
            learning_rate=3e-3,
            seed=seed,
        )
        return experiment(setup, published_sign=published_sign)

    return make


def _measure(trial: Experiment) -> Figures:
    encoder = network_of(trained(trial), "encoder", AnchorEncoder)
    numbers = judge_of(trial, DeviceAgreement).evaluate(encoder, trial.source, test=test_of(trial)).numbers
    return {**numbers, F1: _f1(encoder, trial), UNTRAINED: _f1(trial.method.encoder, trial)}


def _f1(encoder: Model, trial: Experiment) -> float:
    train, test = (embed(encoder, labelled(source)) for source in (trial.source, test_of(trial)))
    return float(f1_score(test.labels, fit_linear(train).predict(test.x), average="macro"))


def _protocol(trials: Mapping[str, Experiment], _: object) -> dict[str, Tree]:
    return {**budget(first(trials)), "held out": "a user each seed, from pretraining and from the probe"}


def _tables(found: Sequence[Mapping[str, Figures]]) -> Tables:
    tables: dict[str, Table] = {name: beside(found, name, "share") for name in (F1, UNTRAINED)}
    return tables
