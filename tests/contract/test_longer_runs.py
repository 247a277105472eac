"""Raising a run's epochs goes on with it: a recipe's description depends on them in `plan.epochs` alone."""

import pytest

from graphs import graph, graph_set
from toys import ToyPictures, toy_rows
from withstand.api.front import experiment
from withstand.core.part import describe
from withstand.engine.folder import _leaves, _may_change
from withstand.recipes.catalogue import entries

IN_PHASES = {"done", "gairat", "mail", "mcl", "srat"}
"""Those whose method, or an earlier stage, has phases that are shares of the run: another length is another run."""
OTHER = {
    "graphmae": {"data": graph_set(), "hidden": 16},
    "selftask": {"data": graph()},
    "t-jepa": {"data": toy_rows(), "hidden": 16},
}
"""Recipes that learn from no pictures."""
SLUGS = [entry.slug for entry in entries() if hasattr(entry.module(), "experiment")]


@pytest.mark.parametrize("slug", sorted(set(SLUGS) - IN_PHASES - {"deacl"}))
@pytest.mark.parametrize(("epochs", "more"), [(4, 6), (20, 150)])
def test_only_the_length_changes(slug: str, epochs: int, more: int) -> None:
    options = OTHER.get(slug, {"data": ToyPictures(512), "width": 4})
    short, long = (_leaves(describe(experiment(slug, {**options, "epochs": length}))) for length in (epochs, more))
    assert [key for key in short.keys() | long.keys() if short.get(key) != long.get(key)] == ["plan.epochs"]
    assert _may_change("plan.epochs")
