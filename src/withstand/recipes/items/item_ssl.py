"""ItemSSL: recommendations by two towers, whose items must also be known by half of what is said of them.

paper: Self-supervised Learning for Large-scale Item Recommendations (Yao, Yi, Cheng, Yu, Chen, Menon, Hong, Chi, Tjoa,
  Kang, Ettinger; CIKM 2021)
claims: beside the loss on interactions, a contrastive loss on items drawn from the whole catalogue, two versions of
  each with complementary correlated fields hidden, helps recommendations, most of all of items with few interactions
learns from: interactions, ratings, clicks, purchases: a table of user and item, perhaps with times, and a table of
  items with their fields, such as titles, genres and tags
use it when: items are many, most of them rarely taken, and something is known of each
not for: items of which nothing is known but who took them; people who never took anything
command: withstand train item-ssl --data ratings.csv --items movies.csv
time: 258 processor seconds for the claim, 8 seeds
reached: reproduced: of films that nobody took before, recall at 20 among such films 0.063 ± 0.022, 0.046 ± 0.017 by two
  towers alone (ahead by 0.017 ± 0.012 by seed; MovieLens, 100,836 interactions, 30 epochs). Among all films nothing is
  gained: 0.059 both
"""

import math
from dataclasses import dataclass
from typing import Any

from withstand.core.errors import DataError
from withstand.core.options import Options
from withstand.data.derived.subset import holdout
from withstand.data.interactions.source import Catalogue, Pairs
from withstand.engine.experiment import Experiment, Plan
from withstand.engine.optimizers import Adam
from withstand.engine.schedules import Constant
from withstand.evaluation.ranking import Ranking
from withstand.evaluation.structured.field_audit import FieldAudit
from withstand.evaluation.structured.mutual_information import mutual_information
from withstand.methods.items.item_ssl import INTERACTIONS, Augmentation, ItemSSL
from withstand.models.items.tower import FieldTower
from withstand.views.columns import AsIs


@dataclass(frozen=True, kw_only=True)
class ItemSetup(Options):
    """What recipes on interactions can be told: tables, network, budget.

    Args:
        data: a table of users and items, perhaps with times and ratings (CSV, Parquet, a data frame), or the set
            movielens-small.
        items: a table of the items, by the same name of the column; a named set has its own.
        user: the column of users; found by its name if not said.
        item: the column of items.
        time: the column of times; without any a random share is held out, and told.
        least: the least rating that counts as an interaction; all do if not said.
        fraction: share of each user's interactions, the latest, that is held out to judge by.
        cold: share of the items that are never learnt from by an interaction, to judge what their fields alone tell.
        dim: width of each field's embedding.
        hidden: width of the towers' hidden layer.
        width: of the embeddings of users and items.
        epochs: passes over the interactions, in whole passes over the catalogue.
        batch: items a step, and interactions; at most all items.
        learning_rate: of Adam.
        seed: of weights, order, hidden fields and what is held out.
        processes: how many train together.
    """

    data: Any = "movielens-small"
    items: str | None = None
    user: str | None = None
    item: str | None = None
    time: str | None = None
    least: float | None = None
    fraction: float = 0.2
    cold: float = 0.0
    dim: int = 16
    hidden: int = 64
    width: int = 32
    epochs: int = 8
    batch: int = 512
    learning_rate: float = 1e-3
    seed: int = 0
    processes: int = 1


SETUP = ItemSetup()


def experiment(
    setup: ItemSetup = SETUP,
    *,
    augment: Augmentation = "cfm",
    alpha: float = 0.3,
    temperature: float = 0.1,
    main_temperature: float = 0.1,
    dropout: float = 0.1,
    log_q: bool = True,
    identity: bool = True,
) -> Experiment:
    """Return the experiment.

    Args:
        setup: tables, network, budget.
        augment: cfm hides a drawn field with those that tell most of it, rfm a random half, dropout drops single
            values, identity changes nothing (the spread-out regulariser).
        alpha: weight of the loss on items; 0 for plain two towers.
        temperature: tau of the loss on items.
        main_temperature: tau of the loss on interactions.
        dropout: chance of each of several values of a field to be dropped.
        log_q: correct for popular items' being in more batches.
        identity: whether an item's own name is a field, as published.
    """
    catalogue = setup.data if isinstance(setup.data, Catalogue) else _catalogue(setup, identity)
    if len(catalogue) < 3:
        raise DataError(f"the catalogue has {len(catalogue)} items: at least 3 are needed")
    slots = tuple(catalogue.slots.values())
    information: list[list[float]] = []
    if augment == "cfm":
        information = mutual_information(catalogue.codes.numpy(), catalogue.fields).round(6).tolist()

    def tower(sizes: tuple[int, ...], slots: tuple[int, ...]) -> FieldTower:
        return FieldTower(sizes, slots, dim=setup.dim, hidden=(setup.hidden,), width=setup.width)

    method = ItemSSL(
        tower((len(catalogue.users),), (1,)),
        tower(catalogue.sizes_of_fields, slots),
        catalogue,
        augment=augment,
        information=information,
        alpha=alpha,
        temperature=temperature,
        main_temperature=main_temperature,
        dropout=dropout,
        log_q=log_q,
    )
    pairs = Pairs(catalogue)
    batch = min(setup.batch, len(catalogue))
    batch -= batch % setup.processes
    per_pass = len(catalogue) // batch
    plan = Plan(
        epochs=max(1, math.ceil(setup.epochs * len(pairs) / batch / per_pass)),
        batch=batch,
        optimizer=Adam(setup.learning_rate),
        schedule=Constant(),
        precision="float32",
        layout="contiguous",
        seed=setup.seed,
        processes=setup.processes,
    )
    labelled, test = holdout(catalogue)
    return Experiment(
        "item-ssl",
        catalogue,
        AsIs(),
        method,
        plan,
        test,
        labelled,
        judges=(Ranking(),),
        audit=FieldAudit(),
        beside={INTERACTIONS: pairs},
    )


def _catalogue(setup: ItemSetup, identity: bool) -> Catalogue:
    return Catalogue(
        setup.data,
        setup.items,
        user=setup.user,
        item=setup.item,
        time=setup.time,
        least=setup.least,
        fraction=setup.fraction,
        cold=setup.cold,
        seed=setup.seed,
        identity=identity,
    )
