"""What lies in the folders of recipes is what `withstand list` shows."""

import json

import pytest

from withstand.cli.main import main
from withstand.recipes.catalogue import entries, entry


def test_a_family_is_the_folder_that_a_recipe_lies_in() -> None:
    for item in entries():
        assert item.module().__file__ == str(item.path)
        assert item.family == item.path.parent.name.replace("_", "-")
    assert {entry(slug).family for slug in ("barlow-twins", "swav", "byol")} == {"non-contrastive"}
    assert (entry("pgd-at").family, entry("dlv").family) == ("robust", "verification")


def test_the_list_shows_each_recipe_once_below_its_family(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    blocks = [block.splitlines() for block in capsys.readouterr().out.strip().split("\n\n")]
    shown = {family: [line.split()[0] for line in lines] for family, *lines in blocks}
    assert shown == {name: [item.slug for item in entries() if item.family == name] for name in shown}
    assert sorted(slug for slugs in shown.values() for slug in slugs) == [item.slug for item in entries()]
    assert main(["list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {item.slug: item.title for item in entries()}


def test_names_are_found_however_they_are_joined() -> None:
    assert entry("barlow_twins") == entry("Barlow-Twins") == entry("barlow-twins")
