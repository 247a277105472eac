"""What a merged row holds where records contradict each other: the written rule, and a user's resolver."""

import numpy as np
import pytest

from withstand.core.errors import DataError
from withstand.data.pairs.values import Texts
from withstand.evaluation.structured.integration.conflicts import ConflictRules, mutual_information


def column(*values: str) -> Texts:
    found = np.empty(len(values), dtype=object)
    found[:] = values
    return found


CITY = ("rome", "oslo", "bari", "kyiv") * 6
LAND = ("italy", "norway", "italy", "ukraine") * 6


def test_information_of_a_column_about_itself_under_another_name_is_its_entropy_above_chance() -> None:
    city, other = column(*CITY), column(*("x", "y") * 12)
    found = mutual_information(
        {"city": city, "town": column(*CITY), "other": other, "id": column(*map(str, range(24)))}
    )
    assert np.log(4) - 0.3 < found["city", "town"] <= np.log(4)
    assert found["city", "town"] == found["town", "city"]
    assert found["city", "id"] == pytest.approx(0, abs=1e-9), "an id tells everything, and so by chance alone"
    empty = mutual_information({"a": column("x", "", "y"), "b": column("", "z", "")})
    assert empty["a", "b"] == 0


def test_rows_that_agree_elsewhere_outvote_the_majority_of_a_set() -> None:
    columns = {"name": column(*(f"n{row}" for row in range(27))), "city": column(*CITY, "rome", "rome", "rome"),
               "land": column(*LAND, "norway", "norway", "italy")}  # fmt: skip
    row, conflicts = ConflictRules(columns).merge(4, (24, 25, 26))
    assert row["land"] == "italy", "two of three copies are corrupted, and the table knows better"
    (found,) = [one for one in conflicts if one.column == "land"]
    assert (found.set, found.values, found.sources) == (4, ("norway", "italy"), ((24, 25), (26,)))
    assert found.why == "rows that agree elsewhere"


def test_values_that_differ_in_case_or_spacing_alone_are_no_conflict_and_nothing_gives_nothing() -> None:
    columns = {"a": column("Rome", " rome", ""), "b": column("", "", ""), "c": column("", "x", "")}
    row, conflicts = ConflictRules(columns).merge(0, (0, 1, 2))
    assert row == {"a": "Rome", "b": "", "c": "x"}
    assert conflicts == []


def test_ties_go_to_the_most_frequent_the_longest_and_the_first() -> None:
    columns = {"a": column("inn", "inn", "old inn"), "b": column("x", "long x", "y"), "c": column("ab", "cd", "")}
    row, conflicts = ConflictRules(columns).merge(0, (0, 1, 2))
    assert row == {"a": "inn", "b": "long x", "c": "ab"}
    assert [one.why for one in conflicts] == ["most frequent", "longest", "first"]


def test_a_resolver_is_asked_without_the_answer_and_may_not_invent_one() -> None:
    columns = {"city": column(*CITY, "rome", "rome"), "land": column(*LAND, "norway", "italy")}
    asked: list[str] = []

    def resolver(question: str, values: object) -> str:
        asked.append(question)
        return "ITALY"

    row, conflicts = ConflictRules(columns, resolver=resolver).merge(0, (24, 25))
    assert row["land"] == "italy"
    assert conflicts[0].why == "resolver"
    assert "If city is rome, then land is italy." in asked[0]
    last = asked[0].splitlines()[-1]
    assert last == "If city is rome, is land one of: norway, italy? Answer with one of them."
    with pytest.raises(DataError, match="'france' for 'land', which is none of"):
        ConflictRules(columns, resolver=lambda *_: "France").merge(0, (24, 25))
