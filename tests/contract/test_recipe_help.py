"""What a recipe's help says of its options is true of it."""

import re
from dataclasses import fields, replace

import pytest

from recipe_options import needs_a_run, trains
from withstand.cli.verbs.training import OF_PICTURES, SHARED, USUAL
from withstand.core.errors import DataError
from withstand.core.options import options_of
from withstand.data.interactions.source import Catalogue
from withstand.data.pairs.source import RecordSource
from withstand.data.windows.source import WindowSource
from withstand.engine.experiment import Experiment
from withstand.recipes.catalogue import Entry, entries
from withstand.recipes.items.item_ssl import ItemSetup
from withstand.recipes.setups.structured.records import RecordSetup
from withstand.recipes.setups.structured.tables import TableSetup
from withstand.recipes.setups.structured.windows import WindowSetup

RECIPES = [item for item in entries() if hasattr(item.module(), "SETUP") and trains(item) and not needs_a_run(item)]


def setting(item: Entry, batch: int, learning_rate: float | None = None) -> Experiment:
    """Return a recipe's experiment at its own setting but for these."""
    module = item.module()
    known = {field.name for field in fields(module.SETUP)}
    data: object = "digits-table" if isinstance(module.SETUP, TableSetup) else "digits"
    if isinstance(module.SETUP, ItemSetup):
        data = Catalogue.example()
    if isinstance(module.SETUP, WindowSetup):
        data = WindowSource.example()
    if isinstance(module.SETUP, RecordSetup):
        data = RecordSource.example()
    changes = {"batch": batch, "width": 4, "data": data, "learning_rate": learning_rate}
    given = {name: value for name, value in changes.items() if name in known and value is not None}
    experiment: Experiment = module.experiment(replace(module.SETUP, **given))
    return experiment


@pytest.mark.thorough
@pytest.mark.parametrize("item", RECIPES, ids=lambda item: item.slug)
def test_the_learning_rate_is_the_optimizers_that_the_help_names(item: Entry) -> None:
    texts = {option.name: option.text or "" for option in options_of(item.module().experiment)}
    if "learning_rate" not in texts:
        return
    try:
        one, other = (setting(item, batch, 0.01).plan.optimizer for batch in (64, 128))
    except DataError:
        pytest.skip("it learns from other data than plain pictures and rows")
    text = texts["learning_rate"]
    assert re.search(rf"\b{type(one).__name__}\b", text), (type(one).__name__, text)
    scaled = other.learning_rate == pytest.approx(2 * one.learning_rate)
    assert scaled == ("scaled with the batch" in text), (one, other, text)
    if scaled:
        reference = re.search(r"for a batch of (\d+)", text)
        assert reference is not None
        assert one.learning_rate * int(reference[1]) / 64 == pytest.approx(0.01)


def test_what_a_method_says_of_its_differences_reaches_its_entry() -> None:
    """Read from the method's own file, whatever the recipe is called."""
    found = {item.slug: item.facts.get("differences", "") for item in entries()}
    assert "official head also normalises" in found["simclr"]
    assert "[REG] is always seen" in found["t-jepa"]
    assert "a whole batch" in found["beyond"]
    own = {item.slug for item in entries() if "from withstand.methods." in item.path.read_text(encoding="utf-8")}
    assert {slug for slug in own if not found[slug]} == set()
    assert "to a spread of 1. No training code was published." in found["rss"]  # of two files, each with sentences
    assert all(said.endswith(".") for said in found.values() if said)


def test_what_the_help_of_train_says_of_all_recipes_holds_for_all() -> None:
    told = [{option.name for option in options_of(item.module().experiment)} for item in entries() if item.trains]
    assert all(set(SHARED) <= names for names in told)
    assert sum(set(USUAL) <= names for names in told) > 0.95 * len(told)
    assert sum(set(OF_PICTURES) <= names for names in told) > 0.7 * len(told)
