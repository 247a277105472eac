"""The claim of G-SimCLR."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from withstand.claims.protocol.claim import Claim, Tables
from withstand.claims.protocol.measures import (
    LINEAR,
    PROBES,
    Figures,
    accuracy,
    budget,
    earlier,
    method_of,
    trained,
    versus,
)
from withstand.core.findings.finding import Table
from withstand.core.part import Tree
from withstand.core.random import permutation
from withstand.core.roles import Method
from withstand.data.derived.group_batches import same_label_share
from withstand.data.derived.subset import Subset
from withstand.engine.experiment import Experiment
from withstand.methods.contrastive.g_simclr import GSimCLR
from withstand.methods.contrastive.simclr import SimCLR
from withstand.recipes.contrastive.g_simclr import SETUP, experiment

GUIDED, RANDOM = "pairs of one class, guided", "pairs of one class, random"


def claim() -> Claim[Experiment, Figures]:
    """Compare with SimCLR, on the same batches but for their guidance, on 5,000 Fashion-MNIST pictures.

    The share of pairs in a batch that are of one kind stands beside. The autoencoder's budget comes on top.
    """
    return Claim(
        statement="batches that take each picture from another pseudo-class teach more than random ones",
        quantity=LINEAR,
        names=("G-SimCLR", "SimCLR"),
        arms={"G-SimCLR": _guided, "SimCLR": _plain},
        measure=_measure,
        figures=versus(LINEAR),
        protocol=_protocol,
        tables=_tables,
    )


def _guided(seed: int) -> Experiment:
    made = experiment(replace(SETUP, width=8, epochs=6, seed=seed), code_width=8, code_epochs=4)
    few = Subset(made.source, permutation(len(made.source), seed, "few")[:5000])
    own = method_of(made, GSimCLR)
    method = GSimCLR(own.encoder, own.features, samples=len(few), clusters=made.plan.batch)
    return replace(made, source=few, method=method, first=replace(earlier(made), source=few))


def _plain(seed: int) -> Experiment:
    made = _guided(seed)
    encoder = made.method.encoder
    method = SimCLR(encoder, hidden=encoder.width, dim=50, temperature=0.1, batch_norm=False)
    return replace(made, method=method, first=None)


def _measure(trial: Experiment) -> Figures:
    method = trained(trial)
    found: Figures = {LINEAR: accuracy(method.encoder, trial, LINEAR)}
    return found | _same_kind(method, trial) if isinstance(method, GSimCLR) else found


def _same_kind(method: Method, trial: Experiment, epochs: int = 20) -> Figures:
    """Return the mean share of pairs of one class in a trained method's batches, and in random ones."""
    labels, batch = trial.source.labels, trial.plan.batch
    assert labels is not None
    shares = []
    for epoch in range(epochs):
        order = permutation(len(trial.source), trial.plan.seed, "order", epoch)
        plain = order[: len(order) // batch * batch]
        both = (method.order(order, batch), plain)
        shares.append([same_label_share(labels, rows.view(-1, batch)) for rows in both])
    guided, random = (sum(column) / epochs for column in zip(*shares, strict=True))
    return {GUIDED: guided, RANDOM: random}


def _protocol(trials: Mapping[str, Experiment], _: object) -> dict[str, Tree]:
    return {**budget(trials["G-SimCLR"]), "probe": PROBES[LINEAR]}


def _tables(found: Sequence[Mapping[str, Figures]]) -> Tables:
    rows = tuple((seed, arms["G-SimCLR"][GUIDED], arms["G-SimCLR"][RANDOM]) for seed, arms in enumerate(found))
    return {
        "pairs of one class in a batch": Table(
            ("seed", "guided", "random"), rows, units={"guided": "share", "random": "share"}
        )
    }
