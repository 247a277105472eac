"""Typos and other changes of records, held to what they may do, and to a plain edit distance."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError
from withstand.core.random import Draws
from withstand.views.records import OPERATORS, Misspelt, Perturbed, remove_word, swap_words, typos

LENGTH = 24
WORDS = st.text(alphabet="abc déf 019", max_size=LENGTH).map(lambda text: " ".join(text.split()))


def codes(*texts: str, length: int = LENGTH) -> Tensor:
    held = torch.zeros(len(texts), length, dtype=torch.int64)
    for row, text in enumerate(texts):
        held[row, : len(text)] = torch.tensor([ord(letter) for letter in text], dtype=torch.int64)
    return held


def text(row: Tensor) -> str:
    found = "".join(map(chr, row.tolist()))
    assert "\0" not in found.rstrip("\0"), "a value has no hole"
    return found.rstrip("\0")


def distance(one: str, two: str) -> int:
    """The optimal string alignment distance: replaced, inserted, deleted and swapped neighbours cost 1 each."""
    rows = [list(range(len(two) + 1))]
    for i, a in enumerate(one, 1):
        rows.append([i])
        for j, b in enumerate(two, 1):
            best = min(rows[i - 1][j] + 1, rows[i][j - 1] + 1, rows[i - 1][j - 1] + (a != b))
            if i > 1 and j > 1 and a == two[j - 2] and b == one[i - 2]:
                best = min(best, rows[i - 2][j - 2] + 1)
            rows[i].append(best)
    return rows[-1][-1]


@given(st.lists(WORDS, min_size=1, max_size=5), st.integers(0, 2**40))
@settings(max_examples=60, deadline=None)
def test_a_typo_is_one_edit_at_most_and_never_empties_a_value(values: list[str], seed: int) -> None:
    x = codes(*values)[None]
    found = typos(x, 1, Draws(seed, torch.tensor([0])))[0]
    for before, row in zip(values, found, strict=True):
        after = text(row)
        assert distance(before, after) <= 1
        assert bool(after) == bool(before)
        assert not after.startswith(" ") or before.startswith(" ")


def test_typos_of_every_kind_occur_and_hit_where_they_are_told() -> None:
    x = codes("lantern", "1984").expand(400, 2, LENGTH)
    where = torch.tensor([True, False]).expand(400, 2)
    found = typos(x, 1, Draws(3, torch.arange(400)), where=where)
    assert {text(row) for row in found[:, 1]} == {"1984"}
    lengths = {len(text(row)) for row in found[:, 0]}
    assert lengths == {6, 7, 8}
    assert any(sorted(text(row)) == sorted("lantern") and text(row) != "lantern" for row in found[:, 0]), "swaps"
    assert all(text(row).isdigit() for row in typos(x, 1, Draws(4, torch.arange(400)))[:, 1]), "numbers stay numbers"
    assert sum(text(row) != "lantern" for row in found[:, 0]) > 380


def test_two_typos_are_two_edits_and_a_full_value_does_not_grow() -> None:
    full = codes("x" * LENGTH)[None].expand(50, 1, LENGTH)
    found = typos(full, 2, Draws(0, torch.arange(50)))
    assert max(distance("x" * LENGTH, text(row)) for row in found[:, 0]) == 2
    assert max(len(text(row)) for row in found[:, 0]) == LENGTH


@pytest.mark.parametrize(
    ("value", "place", "expected"),
    [("a bc d", 0, "bc d"), ("a bc d", 1, "a d"), ("a bc d", 2, "a bc"), ("alone", 0, "alone"), ("", 0, "")],
)
def test_a_word_is_removed_with_its_space(value: str, place: int, expected: str) -> None:
    assert text(remove_word(codes(value), torch.tensor([place]))[0]) == expected


@pytest.mark.parametrize(
    ("value", "place", "expected"),
    [("a bc def", 0, "bc a def"), ("a bc def", 1, "a def bc"), ("a bc def", 2, "a bc def"), ("", 0, "")],
)
def test_neighbouring_words_are_swapped(value: str, place: int, expected: str) -> None:
    assert text(swap_words(codes(value), torch.tensor([place]))[0]) == expected


@given(st.lists(WORDS, min_size=2, max_size=4), st.integers(0, 2**40), st.sampled_from(OPERATORS))
@settings(max_examples=80, deadline=None)
def test_a_copy_differs_in_one_value_and_keeps_something(values: list[str], seed: int, operator: str) -> None:
    x = codes(*values)[None]
    (found,) = Perturbed(1, (operator,))(Batch(x, torch.tensor([7])), Draws(seed, torch.tensor([7]))).views
    after = [text(row) for row in found[0]]
    assert sum(a != b for a, b in zip(values, after, strict=True)) <= 1
    assert any(after) == any(values), "the last value stays"
    if operator == "word swap" and after != values:
        pairs = [(a, b) for a, b in zip(values, after, strict=True) if a != b]
        assert all(sorted(a.split()) == sorted(b.split()) or distance(a, b) == 1 for a, b in pairs)


def test_a_records_changes_do_not_hang_on_its_company() -> None:
    x = torch.stack([codes("blue lamp", "boston"), codes("old mill", ""), codes("casa verde", "salem")])
    batch = Batch(x, torch.tensor([4, 9, 2]))
    for view in (Perturbed(3), Misspelt(2)):
        whole = view(batch, Draws(0, batch.index))
        part = view(Batch(x[[2, 0]], batch.index[[2, 0]]), Draws(0, batch.index[[2, 0]]))
        for ours, theirs in zip(whole.views or (whole.x,), part.views or (part.x,), strict=True):
            assert torch.equal(ours[[2, 0]], theirs)
        again = view(batch, Draws(0, batch.index))
        assert all(map(torch.equal, whole.views or (whole.x,), again.views or (again.x,)))
        other = view(batch, Draws(1, batch.index))
        assert not all(map(torch.equal, whole.views or (whole.x,), other.views or (other.x,)))
    assert torch.equal(batch.x, x), "what was given stays"


def test_unknown_operators_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="word swap"):
        Perturbed(operators=("word swp",))
