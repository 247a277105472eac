"""SRPO's recipe: which stage stands before it, and what it refuses in one line."""

import json
from pathlib import Path
from typing import Any

import pytest

from withstand.api.front import experiment
from withstand.core.errors import ConfigError, DataError
from withstand.data.text.source import EXAMPLE
from withstand.engine.experiment import Experiment
from withstand.methods.language.srpo import SRPO
from withstand.methods.language.supervised import SupervisedTuning

TOY: dict[str, object] = {"model": "tiny:llama", "tuning": "full"}


@pytest.fixture
def pairs(tmp_path: Path) -> str:
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, EXAMPLE)), encoding="utf-8")
    return str(path)


def test_a_file_of_ones_own_is_learnt_from_at_once_and_the_made_set_after_a_stage(pairs: str) -> None:
    own = experiment("srpo", {**TOY, "data": pairs})
    assert own.first is None
    assert isinstance(own.method, SRPO)
    assert own.test is not None
    assert len(own.source) + len(own.test) == len(EXAMPLE)
    assert len(own.method.reference) == len(own.source)
    made = experiment("srpo", {**TOY, "supervised_epochs": 2})
    assert isinstance(made.first, Experiment)
    assert made.first.plan.epochs == 2
    assert isinstance(made.first.method, SupervisedTuning)
    assert (made.first.method.learnt, made.first.method.drafts) == ("both", True)
    made.check()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"revision": "{prompt} again:"}, r"revision must hold \{draft\}"),
        ({"objective": "dop"}, "did you mean 'dpo'"),
        ({"beta": 0.0}, "beta must be above 0"),
        ({"improving": 2.0}, "alpha must lie in"),
        ({"supervised_epochs": -1}, "supervised_epochs must be at least 0"),
        ({"columns": ("promt", "chosen", "rejected")}, "did you mean 'prompt'"),
        ({"max_length": 60}, "drops the completions of 8 of 8 rows"),
        ({"model": "tiny:lama"}, "tiny:llama"),
    ],
)
def test_bad_options_are_refused_in_one_line(pairs: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises((ConfigError, DataError), match=message) as refused:
        experiment("srpo", {**TOY, "data": pairs, **options})
    assert "\n" not in str(refused.value)
