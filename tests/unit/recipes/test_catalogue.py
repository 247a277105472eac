"""What lies in the folders of recipes is what `withstand list` shows."""

import json

import pytest

from withstand.cli.main import main
from withstand.core.errors import ConfigError
from withstand.recipes.catalogue import TAXONOMY, UNLABELLED, entries, entry, find, of_kind


def test_a_family_is_the_folder_that_a_recipe_lies_in() -> None:
    for item in entries():
        assert item.module().__file__ == str(item.path)
        assert item.family == item.path.parent.name.replace("_", "-")
    assert {entry(slug).family for slug in ("barlow-twins", "swav", "byol")} == {"non-contrastive"}
    assert (entry("pgd-at").family, entry("dlv").family) == ("robust", "verification")


def test_the_list_shows_each_recipe_once_below_its_family(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    *blocks, legend = [block.splitlines() for block in capsys.readouterr().out.strip().split("\n\n")]
    assert "in brackets" in legend[0]
    shown = {family: [line.split()[0] for line in lines] for family, *lines in blocks}
    every = {item.slug: item.slug if hasattr(item.module(), "experiment") else f"[{item.slug}]" for item in entries()}
    assert shown == {name: [every[item.slug] for item in entries() if item.family == name] for name in shown}
    assert sorted(slug for slugs in shown.values() for slug in slugs) == sorted(every.values())
    assert main(["list", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {slug: facts["trains"] for slug, facts in told.items()} == {slug: slug == every[slug] for slug in every}


@pytest.mark.parametrize(
    ("asked", "first"),
    [
        ("graph nodes without labels", "graphmae"),
        ("few labels on graphs", "selftask"),
        ("tables, no labels", "t-jepa"),
        ("packets", "netfound"),
        ("unlabelled sensor recordings", "collossl"),
        ("ratings", "item-ssl"),
    ],
)
def test_what_is_found_first_learns_from_the_kind_of_data_that_is_named(asked: str, first: str) -> None:
    assert find(asked)[0].slug == first


def test_photos_without_labels_are_answered_with_what_needs_neither_labels_nor_a_run() -> None:
    for item in find("photos without labels", 30):
        assert "photos" in item.facts["learns from"], item.slug
        assert not item.facts["learns from"].startswith(("labelled", "a run")), item.slug


def test_names_are_found_however_they_are_joined() -> None:
    assert entry("barlow_twins") == entry("Barlow-Twins") == entry("barlow-twins")


def test_recipes_on_unlabelled_pictures_say_how_they_learn_in_words_of_the_taxonomy() -> None:
    told = [item for item in entries() if item.facts.get("learns from", "").startswith(UNLABELLED)]
    assert len(told) > 25
    for item in entries():
        for axis, words in TAXONOMY.items():
            said = item.said(axis)
            assert bool(said) == (item in told), (item.slug, axis)
            assert set(said) <= set(words), (item.slug, axis, said)
            assert len(said) == len({*said}), (item.slug, axis)
        if item in told:
            assert len({"one view", "two views", "several views"} & {*item.said("needs")}) == 1, item.slug
            assert ("patch" in item.said("granularity")) <= ("patches" in item.said("needs")), item.slug


def test_methods_are_found_by_how_they_learn(capsys: pytest.CaptureFixture[str]) -> None:
    assert {"mae", "hpm", "sit"} <= {item.slug for item in of_kind(mechanism="masked", target="pixels")}
    assert {item.slug for item in of_kind(guard="balanced assignment")} == {"swav", "seer"}
    assert of_kind(needs="batch_statistics") == of_kind(needs="batch statistics")
    assert of_kind(family=None, needs=None) == entries()
    assert main(["find", "--family", "masked", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == [item.slug for item in entries() if item.family == "masked"]
    assert main(["find", "patches", "--family", "masked", "--needs", "teacher", "--json"]) == 0
    assert "hpm" in json.loads(capsys.readouterr().out)


def test_words_that_the_taxonomy_lacks_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match=r"family 'maskd' is unknown: did you mean 'masked'\?"):
        of_kind(family="maskd")
    with pytest.raises(ConfigError, match="recipes say nothing of 'colour'"):
        of_kind(colour="red")
    for words in (["find"], ["find", "--target", "pixel"]):
        assert main(words) == 2
        assert capsys.readouterr().err.count("\n") == 1
