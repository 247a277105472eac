"""The claim of ItemSSL."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from withstand.claims.protocol.claim import Claim, Tables
from withstand.claims.protocol.measures import Figures, Make, beside, budget, first, first_two, trained, versus
from withstand.core.errors import DataError
from withstand.core.part import Tree
from withstand.engine.experiment import Experiment
from withstand.evaluation.ranking import Recommender, per_user, ranked, slices
from withstand.recipes.items.item_ssl import SETUP, experiment

K = 20
COLD = "recall at 20 of items without interactions, among such items"
WHOLE, TAIL, ANYWHERE = "recall at 20", "recall at 20, tail items", "recall at 20, cold items among all"


def claim() -> Claim[Experiment, Figures]:
    """Compare two towers with the loss on items, correlated fields hidden, with plain two towers.

    A tenth of the films is never learnt from by an interaction; recall over all items stands beside.
    """
    arms: dict[str, Make] = {"ItemSSL": _arm(alpha=0.3), "two towers": _arm(alpha=0.0)}
    return Claim(
        statement="a contrastive loss on the catalogue's items finds more of the items that nobody took before",
        quantity=COLD,
        names=first_two(arms),
        arms=arms,
        measure=_measure,
        figures=versus(COLD),
        protocol=_protocol,
        tables=_tables,
    )


def _arm(*, alpha: float) -> Callable[[int], Experiment]:
    def make(seed: int) -> Experiment:
        setup = replace(SETUP, data="movielens-small", cold=0.1, epochs=4, batch=512, seed=seed)
        return experiment(setup, alpha=alpha)

    return make


def _measure(trial: Experiment) -> Figures:
    method = trained(trial)
    if not isinstance(method, Recommender):
        raise DataError(f"{type(method).__name__} scores no items for users")

    def scores(users: Tensor) -> Tensor:
        with torch.no_grad():
            return method.scores(users)

    catalogue = method.catalogue
    parts, every = slices(catalogue), ranked(scores, catalogue, K)
    among_cold = ranked(scores, catalogue, K, among=parts["cold"])
    recalls = {
        COLD: per_user(among_cold, catalogue, parts["cold"]),
        WHOLE: per_user(every, catalogue),
        TAIL: per_user(every, catalogue, parts["tail"]),
        ANYWHERE: per_user(every, catalogue, parts["cold"]),
    }
    return {name: float(found["recall"].nanmean()) for name, found in recalls.items()}


def _protocol(trials: Mapping[str, Experiment], _: object) -> dict[str, Tree]:
    return {**budget(first(trials)), "cold": "a tenth of the items, others each seed", "places": K}


def _tables(found: Sequence[Mapping[str, Figures]]) -> Tables:
    return {name: beside(found, name, "share") for name in (WHOLE, TAIL, ANYWHERE)}
