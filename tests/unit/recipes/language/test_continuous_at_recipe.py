"""The recipe of C-AdvUL and C-AdvIPO, from files to a report."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from withstand.core.errors import ConfigError, DataError

pytest.importorskip("transformers")
pytest.importorskip("peft")

import withstand as ws
from withstand.attacks.language.suffix import SuffixSearch
from withstand.cli.verbs.runs import run_audit
from withstand.engine.experiment import Experiment
from withstand.evaluation.language.language_audit import LanguageAudit
from withstand.methods.language.continuous_at import UTILITY, CAdvIPO
from withstand.recipes.language.continuous_at import SETUP, experiment


def written(path: Path, rows: list[dict[str, str]]) -> str:
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(path)


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    pairs = [{"prompt": f"Tell {n}", "chosen": " No.", "rejected": f" It is {n}."} for n in range(10)]
    useful = [{"prompt": f"What is {n}?", "completion": f" {n}."} for n in range(10)]
    return written(tmp_path / "pairs.jsonl", pairs), written(tmp_path / "useful.jsonl", useful)


def made(files: tuple[str, str], **settings: Any) -> Experiment:
    setup = replace(SETUP, model="tiny:llama", data=files[0], epochs=1, batch=4, rank=2, max_length=64)
    return experiment(setup, **{"utility": files[1], "steps": 2, **settings})


def test_a_users_own_files_are_trained_on_judged_audited_and_told_in_words(
    files: tuple[str, str], tmp_path: Path
) -> None:
    trial = made(files)
    assert trial.first is None, "what complies already is not taught to"
    assert UTILITY in trial.beside
    small = LanguageAudit((0.1,), 1, 2, 1, SuffixSearch(2, 1, 4), 1)
    run = ws.train(replace(trial, audit=small), out=tmp_path / "run", quiet=True)
    names = {finding.name for finding in run.probe()}
    assert "refusals" in names
    finding = run.audit()
    assert finding.name == "audit-language"
    said = run_audit(run.path).text.splitlines()
    assert "refusals" in said
    assert any(line.startswith("audit-language") for line in said)
    assert finding.protocol["verdict"] in said
    page = run.report().read_text(encoding="utf-8")
    for words in ("Suffix found", "Refuses what is harmless", "Tell "):
        assert words in page


def test_what_ul_and_ipo_need_is_said(files: tuple[str, str]) -> None:
    with pytest.raises(ConfigError, match="give --utility FILE with prompts and completions"):
        made(files, utility=None)
    assert not made(files, utility=None, utility_weight=0.0).beside
    other = made(files, utility=None, objective="ipo")
    assert isinstance(other.method, CAdvIPO)
    assert not other.beside
    with pytest.raises(ConfigError, match="objective 'dpo' is unknown"):
        made(files, objective="dpo")
    with pytest.raises(DataError, match="has no column 'answer'"):
        made(files, utility_columns=("prompt", "answer"))
    with pytest.raises(ConfigError, match="comply_epochs must be at least 0"):
        made(files, comply_epochs=-1)
    assert made(files, comply_epochs=2).first is not None
