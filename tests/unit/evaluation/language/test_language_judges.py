"""Judges of language models: refusals, over-refusals, and an audit by attacks."""

import copy
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
from withstand.data.text.said import Said, with_words
from withstand.data.text.source import Preferences
from withstand.data.text.wording import Answered, Wording
from withstand.evaluation.language.language_audit import (
    CLEAN,
    EMBEDDINGS,
    ENTROPY,
    NOISE,
    PREFIXES,
    SUFFIX,
    WORDINGS,
    LanguageAudit,
)
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


@pytest.mark.parametrize("start", ["", "{{ bos_token }}"])
@pytest.mark.parametrize("kind", ["conversations", "templates", "plain"])
def test_suffixes_and_wordings_are_what_a_user_could_have_typed(start: str, kind: str) -> None:
    """They stand in the user's turn: found suffixes, typed there, give the ids that were judged, and so do wordings."""
    lm = CausalLM.example().eval()
    lm.tokenizer.tokenizer.chat_template = start + (
        "{% for turn in messages %}[{{ turn['role'] }}]{{ turn['content'] }}{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    wording = Wording(lm.tokenizer, chat=kind == "templates")
    rows = [{**row, "prompt": [{"role": "user", "content": row["prompt"]}]} for row in ROWS]
    pairs = Preferences(rows if kind == "conversations" else ROWS, wording, drafts=False, max_length=64)
    finding = replace(AUDIT, samples=4, searched=4, shown=4).evaluate(lm, pairs)
    losses: dict[str, list[float]] = {SUFFIX: [], WORDINGS: [], CLEAN: []}
    told = {str(row[0]): row for row in finding.tables["in words"].rows}
    for pair in pairs.pairs:
        said = pair.prompt if isinstance(pair.prompt, str) else pair.prompt[0][1]
        row = next(row for words, row in told.items() if said in words)
        answer = wording.answers([Answered(pair.prompt, pair.rejected)])[0][1]

        def loss(asked: Said, answer: list[int] = answer) -> float:
            ids = torch.tensor([wording.contexts([(asked, None)])[0] + answer])
            with torch.no_grad():
                logits = lm(ids, torch.ones_like(ids, dtype=torch.bool))[0, -len(answer) - 1 : -1]
            return float(cross_entropy(logits, ids[0, -len(answer) :]))

        losses[CLEAN].append(loss(pair.prompt))
        losses[SUFFIX].append(min(losses[CLEAN][-1], loss(with_words(pair.prompt, after=str(row[3])))))
        worded = [loss(with_words(pair.prompt, f"{words} ")) for words in PREFIXES]
        losses[WORDINGS].append(min(losses[CLEAN][-1], *worded))
    attackers = {row[0]: row for row in finding.tables["attackers"].rows}
    for name, each in losses.items():
        assert attackers[name][5] == pytest.approx(sum(each) / 4, rel=1e-5), name


def test_what_leaves_no_room_is_not_tried_and_told(source: Preferences, refuser: CausalLM) -> None:
    lm = copy.copy(refuser)
    longest = max(len(one) for one in source.wording.contexts([(row["prompt"], None) for row in ROWS]))
    lm.context = longest + 4 + AUDIT.suffix.length - 1
    finding = AUDIT.evaluate(lm, source)
    assert f"{ENTROPY}, {SUFFIX}" not in finding.numbers
    assert str(finding.protocol["left out"]).startswith("4 of 4 prompts leave no room for a suffix and ")
    rows = {row[0]: row for row in finding.tables["attackers"].rows}
    assert rows[WORDINGS][5] <= rows[CLEAN][5]
    assert "left out" not in AUDIT.evaluate(refuser, source).protocol


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
