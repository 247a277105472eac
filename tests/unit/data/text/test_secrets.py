"""The made set of secrets, and useful answers beside it."""

import json
from pathlib import Path

import pytest
import torch

from withstand.core.errors import ConfigError, DataError
from withstand.core.part import build, describe

pytest.importorskip("transformers")

from withstand.data.text.answers import Answers
from withstand.data.text.container import TextPairs
from withstand.data.text.secrets import REFUSAL, question_rows, secret_rows
from withstand.data.text.source import Preferences
from withstand.data.text.wording import Wording


def test_secrets_are_kept_and_questions_answered() -> None:
    for row in secret_rows("train"):
        word = row["rejected"].split()[-1].strip('."')
        assert f" {word}. " in row["prompt"]
        assert "secret" in row["prompt"]
        assert row["chosen"] == REFUSAL
    for row in question_rows("train"):
        assert row["rejected"] == REFUSAL
        assert "secret" not in row["prompt"]
    assert secret_rows("train") == secret_rows("train")
    with pytest.raises(ConfigError, match="part 'elsewhere' of secrets is unknown"):
        secret_rows("elsewhere")


def test_what_is_judged_was_never_learnt() -> None:
    told = {part: {row["rejected"] for row in secret_rows(part)} for part in ("train", "test")}
    asked = {part: {row["prompt"] for row in (*secret_rows(part), *question_rows(part))} for part in ("train", "test")}
    assert not told["train"] & told["test"]
    assert not asked["train"] & asked["test"]


def test_the_made_sets_are_known_by_name() -> None:
    source = Preferences("secrets", Wording.example(), drafts=False, part="test", max_length=256)
    assert len(source) == 64
    assert source.name == "secrets"
    other = source.like("questions", "train")
    assert other is not None
    assert len(other) == 256


def test_useful_answers_come_with_a_refusal(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    rows = [{"prompt": f"What is {n}?", "completion": f" It is {n}."} for n in range(4)]
    path.write_text("\n".join(map(json.dumps, rows)))
    source = Answers(str(path), Wording.example(), refusal=" No.", max_length=64)
    decode = source.wording.tokenizer.decode
    pairs = TextPairs.of(source[[2]].x)
    assert decode(pairs.chosen.values[0]) == " It is 2."
    assert decode(pairs.rejected.values[0]) == " No."
    assert source.name == "answers"
    again = build(describe(source))
    assert again.fingerprint() == source.fingerprint()
    assert "What is" not in json.dumps(describe(source)), "a file is named, not copied"
    like = source.like(str(path))
    assert like is not None
    assert torch.equal(TextPairs.of(like[[0]].x).chosen.values, TextPairs.of(source[[0]].x).chosen.values)
    assert source.like("story-pairs") is None
    with pytest.raises(DataError, match="has no column 'answer'"):
        Answers(str(path), Wording.example(), refusal=" No.", columns=("prompt", "answer"))
    with pytest.raises(DataError, match="is empty"):
        Answers([{"prompt": "a", "completion": " "}], Wording.example(), refusal=" No.")
    with pytest.raises(ConfigError, match="refusal must have words"):
        Answers(str(path), Wording.example(), refusal=" ")
