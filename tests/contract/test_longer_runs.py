"""Raising a run's epochs goes on with it: a recipe's description depends on them in `plan.epochs` alone.

Where a recipe's header says `longer runs: ...`, its phases are shares of the run, and another length is another run.
"""

import pytest

from recipe_options import needs_a_run, toy_options, trains
from withstand.api.front import experiment
from withstand.core.part import describe
from withstand.engine.folder import _may_change, leaves
from withstand.recipes.catalogue import Entry, entries

ITEMS = [item for item in entries() if trains(item) and not needs_a_run(item)]


@pytest.mark.thorough
@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.slug)
@pytest.mark.parametrize(("epochs", "more"), [(4, 6), (20, 150)])
def test_only_the_length_changes_unless_the_header_says_so(item: Entry, epochs: int, more: int) -> None:
    options = toy_options(item)
    if options is None:
        pytest.skip("it learns from a kind of data that no toy is of")
    short, long = (leaves(describe(experiment(item.slug, {**options, "epochs": count}))) for count in (epochs, more))
    changed = {key for key in short.keys() | long.keys() if short.get(key) != long.get(key)}
    assert any(key.endswith("plan.epochs") for key in changed)
    assert _may_change("plan.epochs")
    assert ("longer runs" in item.facts) == (changed != {"plan.epochs"}), changed
