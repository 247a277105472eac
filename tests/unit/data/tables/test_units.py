"""Rows in their own units: given back as they came, named by a column, radii beside each column's spread."""

from pathlib import Path

import numpy as np
import pytest
import torch

from withstand.core.errors import ConfigError, DataError
from withstand.core.victims.victim import Victim
from withstand.data.derived.subset import Subset
from withstand.data.tables.source import TableSource

pytestmark = pytest.mark.filterwarnings("ignore:columns of:UserWarning")


def table(count: int = 40) -> dict[str, np.ndarray]:
    place = np.arange(count)
    return {
        "key": np.array([f"K{number:03}" for number in place]),
        "age": place * 3 + 18,
        "price": np.array([f"{number / 4 + 1:.2f} €".replace(".", ",") for number in place]),
        "when": np.array([f"{number % 28 + 1:02}.03.2024" for number in place]),
        "city": np.array(["Lyon", "Gent", ""])[place % 3],
        "answer": np.array(["no", "yes"])[place // 5 % 2],
    }


def test_rows_come_back_as_they_are_written() -> None:
    source = TableSource(table(), target="answer", id="key")
    rows = source.in_units(source[range(len(source))].x)
    held = table()
    assert rows["age"] == [str(value) for value in held["age"]]
    assert rows["price"] == [f"{number / 4 + 1:g}" for number in range(40)]
    assert rows["when"] == [f"2024-03-{number % 28 + 1:02}" for number in range(40)]
    assert rows["city"] == list(held["city"])
    moved = source[[0]].x
    moved[0, 0] = 0.5
    assert source.in_units(moved)["age"] == ["76.5"]
    assert Subset(source, [3]).in_units(moved) == source.in_units(moved)


def test_rows_are_called_by_a_column_which_is_never_learnt_from() -> None:
    source = TableSource(table(), target="answer", id="key", part="train")
    assert "key" not in source.fields
    assert ("key", "names the rows") in source.skipped
    assert list(source.names) == [f"K{row:03}" for row in source.rows.tolist()]
    assert list(source.other("test").names) == [f"K{row:03}" for row in source.other("test").rows.tolist()]
    assert list(source.whole().names) == list(table()["key"])
    later = table(4) | {"key": np.array(["a", "b", "b", ""]), "city": np.array(["Lyon", "Bonn", "Bonn", "Gent"])}
    again = source.like(later)
    assert list(again.names) == ["a", "b", "b", ""]
    assert dict(again.notes)["city"] == "2 value(s) that training did not have, such as 'Bonn'"
    assert ("key", "2 row(s) share their name with another") in again.notes
    assert ("key", "1 row(s) have no name") in again.notes
    del later["key"]
    assert not source.like(later).names
    assert ("key", "is lacking, so that rows have no names") in source.like(later).notes
    # Named later, by a column that was learnt from, it is still read as it was.
    assert list(source.called_by("age").names)[:2] == [str(3 * row + 18) for row in source.rows.tolist()[:2]]
    assert source.called_by("age").schema == source.schema
    with pytest.raises(ConfigError, match="id 'kee' is no column of the table"):
        TableSource(table(), id="kee")
    with pytest.raises(ConfigError, match="'key' names the rows"):
        TableSource(table(), id="key", kinds={"key": "categorical"})


def test_a_radius_is_told_in_each_columns_units_and_beside_its_spread() -> None:
    source = TableSource(table(), target="answer", id="key", immutable=["when"])
    found = source.radius_in_units(0.1)
    rows = {row[0]: row[1:] for row in found.rows}
    assert rows["age"][:3] == ("11", "18", "135"), "of 11.7, for ages are whole"
    assert rows["age"][3] == pytest.approx(11 / table()["age"].std())
    assert rows["price"][0] == "0.975 €"
    assert rows["when"][0] == "0 s"
    assert "city" not in rows
    assert Subset(source, [1, 2]).radius_in_units(0.1) == found
    assert TableSource(table(), target="answer").radius_in_units(0.1).rows[2][1] == "2 d"


def test_radii_of_rows_are_percent_and_never_levels_of_pictures() -> None:
    rows, pictures = (Victim(torch.nn.Flatten(), levels=levels) for levels in (TableSource.levels, 255))
    assert rows.radius("5%") == rows.radius("5/100") == 0.05
    assert rows.scale.told("linf", 0.05) == "5 %"
    assert rows.scale.told("l2", 0.05) == pictures.scale.told("l2", 0.05) == "0.05"
    assert pictures.scale.told("linf", 8 / 255) == "8/255"
    assert rows.like(torch.nn.Flatten()).scale == rows.scale
    assert Victim(torch.nn.Flatten(), high=255).scale.told("linf", 8) == "8"
    with pytest.raises(ConfigError, match=r"must be a number, a fraction like 8/255 or 5%, not 'x%'"):
        rows.radius("x%")


def test_what_became_of_each_column_is_told(tmp_path: Path) -> None:
    source = TableSource(table(), target="answer", part="train", ignore=["age"])
    told = "\n".join(source.account)
    assert "of the table's 40 rows are learnt from" in told
    assert "numeric (1): price (" in told
    assert " €" in told
    assert "dates (1): when (2024-03-" in told
    assert "categorical (1): city (2, " in told
    assert "target: answer, 2 classes (no " in told
    assert "left out (2): age (as asked for); key (names or identifiers" in told
    wide = {f"c{place}": np.arange(6.0) + place for place in range(20)}
    assert "c11 (11 to 16) and 8 more" in "\n".join(TableSource(wide).account)
    with pytest.raises(DataError, match="target 'c0' is missing in every row"):
        TableSource({**wide, "c0": np.full(6, np.nan)}, target="c0")
