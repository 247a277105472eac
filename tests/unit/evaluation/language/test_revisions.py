"""Revised answers: what is counted, beside what, and what is refused."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.outputs import Output
from withstand.data.text.container import TextPairs
from withstand.data.text.source import Preferences, Prompts
from withstand.evaluation.language.revisions import ACCURACY, GAIN, IMPROVER, RevisedAnswers


def length(prompt: str, answer: str) -> float:
    return float(len(answer))


class _Said(nn.Module):
    """Answers with what it is told, and scores pairs so."""

    def __init__(self, words: tuple[str, ...], scores: tuple[float, ...]) -> None:
        super().__init__()
        self.words, self.numbers = words, scores
        self.weight = nn.Parameter(torch.zeros(1))
        self.asked: list[Mapping[str, Any]] = []

    def answered(
        self, batch: Batch, *, revisions: int = 5, most: int = 64, temperature: float = 0.0, seed: int = 0
    ) -> dict[str, Output]:
        self.asked.append({"revisions": revisions, "most": most, "temperature": temperature, "seed": seed})
        names = ["answer", *(f"revision {number}" for number in range(1, revisions + 1))]
        prompts = Output(["p"] * len(batch), "columns")
        return {"prompt": prompts} | {
            name: Output([word] * len(batch), "columns") for name, word in zip(names, self.words, strict=False)
        }

    def scores(self, pairs: TextPairs) -> Tensor:
        return torch.tensor(self.numbers).expand(len(pairs), 6)


def test_wins_are_over_the_first_answer_and_over_the_one_before_tuning() -> None:
    ours = _Said(("ab", "abc", "abc"), (-1, -2, -3, -2, 0, 0))
    before = _Said(("abcd", "a", "a"), (-2, -1, -2, -3, 0, 0))
    judge = RevisedAnswers(length, revisions=2, samples=5, most=7, temperature=0.5, seed=3)
    found = judge.evaluate(ours, Preferences.example(), control=before)
    assert ours.asked[0] == {"revisions": 2, "most": 7, "temperature": 0.5, "seed": 3}
    figures = found.figures
    assert (figures[GAIN].value, figures[GAIN].of) == (1, 5)
    assert figures[GAIN].control is not None
    assert figures[GAIN].control.value == 0
    assert figures[GAIN].control_name == "before tuning"
    assert (figures[ACCURACY].value, figures[IMPROVER].value) == (1, 0)
    assert figures[ACCURACY].control is not None
    assert figures[ACCURACY].control.value == 0
    table = found.tables["answers by revision"]
    assert table.column("characters") == (2, 3, 3)
    assert table.column("changed") == (0, 1, 0)
    assert table.column("wins over first answer") == (0.5, 1, 1)
    assert table.column("wins over answer before tuning") == (0, 0, 0)
    assert found.tables["some answers"].rows[0] == ("p", "ab", "abc")
    assert found.headline == GAIN


def test_without_a_rule_nothing_is_said_to_win() -> None:
    found = RevisedAnswers(revisions=1).evaluate(_Said(("a", ""), (-1, -2, 0, 0, 0, 0)), Preferences.example())
    assert set(found.figures) == {ACCURACY}, "drafts are not known"
    assert found.headline == ACCURACY
    assert not any("wins" in column for column in found.tables["answers by revision"].columns)
    assert next((check.passed, check.detail) for check in found.checks) == (False, "8 of 16 are empty")


def test_a_gain_by_length_is_told() -> None:
    found = RevisedAnswers(length, revisions=1).evaluate(
        _Said(("ab", "ab" * 9), (-1, -2, 0, 0, 0, 0)), Preferences.example()
    )
    assert [check.passed for check in found.checks] == [True, False]


def test_what_answers_nothing_is_refused() -> None:
    subject = _Said(("a",), (-1, -2, 0, 0, 0, 0))
    with pytest.raises(ConfigError, match="Linear answers no prompts"):
        RevisedAnswers().evaluate(nn.Linear(1, 1), Preferences.example())
    with pytest.raises(DataError, match="pairs of answers are judged, not prompts"):
        RevisedAnswers().evaluate(subject, Prompts.example())
    for settings in ({"samples": 0}, {"revisions": -1}):
        with pytest.raises(ConfigError, match="samples and most"):
            RevisedAnswers(**settings)
