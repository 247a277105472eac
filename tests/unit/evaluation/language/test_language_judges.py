"""Judges of language models: refusals, over-refusals, and an audit by attacks."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cross_entropy

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import isolated

pytest.importorskip("transformers")
pytest.importorskip("peft")

from toys import ToyPictures
from withstand.attacks.language.suffix import SuffixSearch
from withstand.data.text.container import TextPairs
from withstand.data.text.source import Preferences
from withstand.data.text.wording import Wording
from withstand.evaluation.language.language_audit import CLEAN, EMBEDDINGS, ENTROPY, NOISE, SUFFIX, LanguageAudit
from withstand.evaluation.language.refusals import OVER, PERPLEXITY, REFUSES, TELLS, USEFUL, Refusals
from withstand.evaluation.language.telling import greedy_words, told_at
from withstand.methods.language.supervised import SupervisedTuning
from withstand.models.tokens.causal import CausalLM

AUDIT = LanguageAudit((0.1, 0.3), 3, 4, 2, SuffixSearch(3, 2, 8), 2)
ROWS = [{"prompt": word, "chosen": " no", "rejected": f" {word}"} for word in ("ab", "cd", "ef", "gh")]


@pytest.fixture(scope="module")
def source() -> Preferences:
    return Preferences(ROWS, Wording.example(), drafts=False, max_length=32)


@pytest.fixture(scope="module")
def refuser(source: Preferences) -> CausalLM:
    """A tiny model that learnt to say the chosen answers."""
    with isolated("test"):
        method = SupervisedTuning(CausalLM("tiny:llama", "full"))
    batch = Batch(source[range(4)].x, torch.arange(4))
    optimizer = torch.optim.Adam(method.parameters(), 1e-2)
    for _ in range(40):
        loss = method.step(batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return method.language_model.eval()


def test_a_model_that_learnt_to_refuse_refuses_everything(source: Preferences, refuser: CausalLM) -> None:
    swapped = [{"prompt": row["prompt"], "chosen": row["rejected"], "rejected": " no"} for row in ROWS]
    harmless = Preferences(swapped, source.wording, drafts=False, max_length=32)
    finding = Refusals(harmless).evaluate(refuser, source, control=CausalLM.example())
    assert [finding.numbers[name] for name in (REFUSES, TELLS, OVER, USEFUL)] == [1, 0, 1, 0]
    assert finding.figures[REFUSES].interval is not None
    assert finding.figures[REFUSES].control is not None
    pairs = TextPairs.of(harmless[range(4)].x)
    total, count = 0.0, 0
    with torch.no_grad():
        for row in range(4):
            prompt, answer = (s.values[row, : int(s.lengths[row])] for s in (pairs.prompt, pairs.chosen))
            ids = torch.cat([prompt, answer])[None]
            logits = refuser(ids, torch.ones_like(ids, dtype=torch.bool))[0, len(prompt) - 1 : -1]
            total += float(cross_entropy(logits, answer, reduction="sum"))
            count += len(answer)
    assert finding.numbers[PERPLEXITY] == pytest.approx(math.exp(total / count), rel=1e-3)
    assert set(finding.tables["answers in words"].column("said")) == {" no"}


def test_greedy_words_are_what_the_teacher_forced_judge_says(source: Preferences, refuser: CausalLM) -> None:
    pairs = TextPairs.of(source[range(4)].x)
    prompts = [pairs.prompt.values[row, : int(pairs.prompt.lengths[row])] for row in range(4)]
    words = greedy_words(refuser, prompts)
    hits = told_at(refuser, pairs.prompt, pairs.chosen)[1]
    assert hits.tolist() == [word == " no" for word in words] == [True] * 4
    assert greedy_words(refuser, prompts[2:3], 1) == [" "]


def test_the_audit_finds_more_at_larger_radii(source: Preferences, refuser: CausalLM) -> None:
    finding = AUDIT.evaluate(refuser, source, control=CausalLM.example())
    entropy = [float(str(cell)) for cell in finding.tables["radii"].column(ENTROPY)]
    assert entropy[0] > entropy[1] > entropy[2]
    assert finding.numbers[f"{ENTROPY}, {CLEAN}"] == pytest.approx(entropy[0])
    assert finding.believable
    rows = {row[0]: row for row in finding.tables["attackers"].rows}
    assert float(str(rows[f"{NOISE}, eps 0.3"][5])) > float(str(rows[f"{EMBEDDINGS}, eps 0.3"][5]))
    assert finding.figures[f"{ENTROPY}, {SUFFIX}"].of == 2
    assert len(finding.tables["in words"].rows) == 2
    bare = replace(AUDIT, searched=0).evaluate(refuser, source)
    assert f"{ENTROPY}, {SUFFIX}" not in bare.numbers
    assert bare.numbers[f"{ENTROPY}, {CLEAN}"] == pytest.approx(entropy[0])


def test_what_is_no_language_model_and_settings_out_of_range_are_refused(
    source: Preferences, refuser: CausalLM
) -> None:
    for judge in (AUDIT, Refusals()):
        assert "no language model" in judge.lacks(torch.nn.Flatten(), source)
        with pytest.raises(ConfigError, match="is no language model"):
            judge.evaluate(torch.nn.Flatten(), source)
        with pytest.raises(DataError, match="holds no pairs of answers"):
            judge.evaluate(refuser, ToyPictures(4))
    for make in (lambda: LanguageAudit(()), lambda: LanguageAudit(samples=0), lambda: Refusals(samples=0)):
        with pytest.raises(ConfigError):
            make()
