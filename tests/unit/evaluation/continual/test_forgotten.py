"""What makes a finding about forgetting believable: planted classifiers that forgot nothing, all, or too much."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from withstand.evaluation.continual.forgotten import (
    AFTER,
    BEFORE,
    GONE,
    KEPT,
    RETRAINED,
    TEST,
    is_a_goal,
    is_forgotten,
    is_kept,
    is_no_member,
    was_known,
)

LOST = torch.ones(100, dtype=torch.bool)
STEPS = {BEFORE: 0, AFTER: 3, RETRAINED: 40}


def hits(share: float, count: int = 100) -> Tensor:
    return torch.arange(count) < share * count


def told(**gone: float) -> Mapping[str, Mapping[str, Tensor]]:
    """Return planted classifiers by their shares of forgotten samples told; of new ones each tells nine in ten."""
    return {name: {GONE: hits(share), TEST: hits(0.9)} for name, share in gone.items()}


@pytest.mark.parametrize(
    ("after", "verdict", "words"),
    [(0.98, False, "still known"), (0.6, False, "still known"), (0.02, True, "3 after, 40 retrained"), (0.0, True, "")],
)
def test_a_class_is_forgotten_where_hardly_any_of_it_is_told(after: float, verdict: bool, words: str) -> None:
    check = is_forgotten(told(before=0.99, after=after), LOST, STEPS)
    assert check.passed is verdict
    assert words in check.detail
    assert "0.0% is the goal, as nothing of their classes remains" in check.detail


def test_single_samples_are_forgotten_where_they_are_told_as_new_ones() -> None:
    found = {after: is_forgotten(told(before=1.0, after=after), ~LOST, STEPS) for after in (1.0, 0.91, 0.3)}
    assert [check.passed for check in found.values()] == [False, True, False]
    assert "they stand out" in found[0.3].detail
    assert "90.0% is the goal, as of new samples" in found[0.3].detail
    assert is_forgotten(told(before=0.9, after=0.2), ~LOST, STEPS).passed is None, "they were told as new ones before"


def test_the_goal_is_the_retrained_classifiers() -> None:
    assert is_forgotten(told(before=1.0, after=0.52, retrained=0.5), ~LOST, STEPS).passed is True
    assert is_forgotten(told(before=1.0, after=0.05, retrained=0.5), ~LOST, STEPS).passed is False
    assert is_forgotten(told(before=1.0, after=0.5, retrained=1.0), ~LOST, STEPS).passed is None


def test_what_was_never_known_is_not_forgotten() -> None:
    gone, kept = torch.zeros(100, dtype=torch.int64), torch.arange(300) % 2 + 1
    for share, verdict in ((0.9, True), (0.1, True), (0.0, False)):
        said = {KEPT: kept, GONE: torch.where(hits(share), 0, 1)}
        assert was_known({BEFORE: {GONE: said[GONE] == gone}}, said, gone).passed is verdict
    always = {KEPT: torch.zeros_like(kept), GONE: gone}
    assert was_known({BEFORE: {GONE: always[GONE] == gone}}, always, gone).passed is None, "one answer for all is right"
    guessed = {KEPT: torch.arange(300) % 3, GONE: torch.arange(100) % 3}
    assert was_known({BEFORE: {GONE: guessed[GONE] == gone}}, guessed, gone).passed is False


def test_what_remains_is_told_beyond_its_largest_class_and_as_before() -> None:
    labels = (torch.arange(100) >= 60).long()  # the largest class has 60 of 100
    found = {
        after: is_kept({BEFORE: {TEST: hits(0.95)}, AFTER: {TEST: hits(after)}}, labels).passed
        for after in (0.95, 0.85, 0.74, 0.6, 0.1)
    }
    assert found == {0.95: True, 0.85: True, 0.74: False, 0.6: False, 0.1: False}
    never = is_kept({BEFORE: {TEST: hits(0.6)}, AFTER: {TEST: hits(0.6)}}, labels)
    assert never.passed is None
    assert "the largest class is 60.0%" in never.detail
    assert is_a_goal({RETRAINED: {TEST: hits(0.6)}}, labels).passed is False
    assert is_a_goal({RETRAINED: {TEST: hits(0.9)}}, labels).passed is True


def test_an_attack_that_found_nothing_before_says_nothing_after() -> None:
    assert is_no_member({BEFORE: hits(0.5), AFTER: hits(0.5)}).passed is None
    assert is_no_member({BEFORE: hits(0.9), AFTER: hits(0.9)}).passed is False
    assert is_no_member({BEFORE: hits(0.9), AFTER: hits(0.5)}).passed is True
    assert is_no_member({BEFORE: hits(0.9), AFTER: hits(0.8), RETRAINED: hits(0.8)}).passed is True
