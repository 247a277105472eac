"""Raising a run's epochs goes on with it: a recipe's description depends on them in `plan.epochs` alone."""

import pytest

from toys import ToyPictures
from withstand.api import experiment
from withstand.core.part import describe
from withstand.engine.folder import _leaves, _may_change
from withstand.recipes.catalogue import entries

IN_PHASES = {"done", "gairat", "mail", "mcl", "srat"}
"""Those whose method, or an earlier stage, has phases that are shares of the run: another length is another run."""
OTHER_DATA = {"graphmae", "selftask", "t-jepa"}
SLUGS = [entry.slug for entry in entries() if hasattr(entry.module(), "experiment")]


@pytest.mark.parametrize("slug", sorted(set(SLUGS) - IN_PHASES - OTHER_DATA - {"deacl"}))
@pytest.mark.parametrize(("epochs", "more"), [(4, 6), (20, 150)])
def test_only_the_length_changes(slug: str, epochs: int, more: int) -> None:
    short, long = (
        _leaves(describe(experiment(slug, {"data": ToyPictures(512), "width": 4, "epochs": length})))
        for length in (epochs, more)
    )
    assert [key for key in short.keys() | long.keys() if short.get(key) != long.get(key)] == ["plan.epochs"]
    assert _may_change("plan.epochs")
