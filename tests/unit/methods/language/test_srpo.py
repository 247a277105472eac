"""SRPO: where its loss begins, what its six scores are, its reference, and what it refuses."""

from dataclasses import fields
from typing import Any

import pytest
import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import isolated
from withstand.core.roles import Epoch
from withstand.data.text.container import TextPairs
from withstand.data.text.source import EXAMPLE, Preferences, Prompts
from withstand.data.text.wording import Wording
from withstand.losses.preference.self_improving import LogRatios
from withstand.methods.language.srpo import SRPO
from withstand.models.tokens.causal import CausalLM
from withstand.models.tokens.causal_tokenizer import CausalTokenizer

KINDS = ["llama", "gemma", "mistral", "phi"]


def made(kind: str = "llama", tuning: Any = "full", **settings: Any) -> SRPO:
    lm = CausalLM(f"tiny:{kind}", tuning, rank=2, dropout=0.5 if tuning == "lora" else 0.0)
    return SRPO(lm, Wording(lm.tokenizer), samples=8, **settings)


def pairs_of(batch: Batch) -> TextPairs:
    return TextPairs.of(batch.x)


def passed_over(method: SRPO, source: Preferences) -> Epoch:
    def pass_over(function: Any) -> Tensor:
        with torch.no_grad():
            return torch.cat([function(source[range(at, at + 4)].x) for at in range(0, len(source), 4)])

    return Epoch(0, 0, pass_over)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_both_terms_begin_at_one_and_a_quarter_with_dropout_too(kind: str, tuning: str) -> None:
    method = made(kind, tuning).train()
    terms = method.step(method.example_batch())
    assert float(terms["generative"]) == pytest.approx(1, abs=1e-5)
    assert float(terms["improving"]) == pytest.approx(0.25, abs=1e-5)
    assert float(terms["loss"].detach()) == pytest.approx(0.625, abs=1e-5)
    terms["loss"].backward()  # type: ignore[no-untyped-call]
    assert any(p.grad is not None and bool(p.grad.abs().max() > 0) for p in method.parameters())


def test_scores_are_the_answers_log_probabilities_in_their_contexts() -> None:
    method = made().double().eval()
    lm, wording = method.language_model, method.wording
    with torch.no_grad():
        found = method.scores(pairs_of(method.example_batch(range(2))))
        for row, example in enumerate(EXAMPLE[:2]):
            w, x = example["chosen"], example["rejected"]
            wanted = []
            for answer, draft in ((w, None), (x, None), (w, x), (x, x), (w, w), (x, w)):
                before = wording.contexts([(example["prompt"], draft)])[0]
                after = [*lm.tokenizer.encode(answer, start=False), lm.tokenizer.end_id]
                ids = torch.tensor([before + after])
                each = lm(ids, torch.ones_like(ids, dtype=torch.bool)).log_softmax(2)[0]
                places = range(len(before) - 1, len(before) + len(after) - 1)
                wanted.append(sum(float(each[place, ids[0, place + 1]]) for place in places))
            assert found[row].tolist() == pytest.approx(wanted, rel=1e-9)
    names = [field.name for field in fields(LogRatios)]
    assert names[2:] == [
        "chosen_after_rejected",
        "rejected_after_rejected",
        "chosen_after_chosen",
        "rejected_after_chosen",
    ]


@pytest.mark.thorough
def test_the_reference_is_what_the_model_said_before_it_learnt() -> None:
    method = made().double()
    source = Preferences(EXAMPLE, method.wording, max_length=128)
    method.accept(source, 8)
    method.before_epoch(passed_over(method, source))
    with torch.no_grad():
        torch.testing.assert_close(method.reference, method.scores(pairs_of(source[range(8)])))
    before = method.reference.clone()
    optimizer = torch.optim.Adam(method.parameters(), 1e-2)
    losses = []
    for _ in range(15):
        terms = method.step(source[range(8)])
        optimizer.zero_grad()
        terms["loss"].backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(terms["loss"].detach()))
    assert torch.equal(method.reference, before)
    assert losses[-1] < 0.2 * losses[0]
    # A later epoch, and a resume inside the first, leave it as it is.
    method.before_epoch(Epoch(1, 0, passed_over(method, source).pass_over))
    assert torch.equal(method.reference, before)
    known = method.state_dict()["reference"]
    assert torch.equal(known, before)


def test_without_an_epoch_a_row_is_noted_at_its_first_step() -> None:
    method = made().double()
    with torch.no_grad():
        wanted = method.scores(pairs_of(method.example_batch(range(2, 4))))
    method.step(method.example_batch(range(2, 4)))
    torch.testing.assert_close(method.reference[2:4], wanted)
    assert bool(method.reference[[0, 1, 4, 5, 6, 7]].isnan().all())


@pytest.mark.parametrize(("objective", "start"), [("dpo", 0.6931471805599453), ("ipo", 25.0)])
def test_dpo_and_ipo_read_no_drafts(objective: Any, start: float) -> None:
    method = made(objective=objective, beta=0.1).double()
    bare = Preferences(EXAMPLE, method.wording, drafts=False)
    method.accept(bare, 8)
    terms = method.step(bare[range(8)])
    assert float(terms["loss"].detach()) == pytest.approx(start)
    assert set(terms) == {"loss", "accuracy", "margin"}
    with pytest.raises(DataError, match="without"):
        made().accept(bare, 8)
    with pytest.raises(DataError, match="without"):
        made().step(bare[range(8)])


def test_ipo_reads_means_over_tokens_and_dpo_sums() -> None:
    dpo, ipo = (made(objective=objective).double() for objective in ("dpo", "ipo"))
    pairs = pairs_of(dpo.example_batch())
    with torch.no_grad():
        torch.testing.assert_close(
            dpo.scores(pairs)[:, :2],
            ipo.scores(pairs)[:, :2] * torch.stack([pairs.chosen.lengths, pairs.rejected.lengths], 1),
        )


def test_small_batches_add_up_to_the_large_one() -> None:
    method = made().double()
    whole = method.step(method.example_batch())["loss"]
    parts = [method.step(method.example_batch(rows))["loss"] for rows in (range(4), range(4, 8))]
    torch.testing.assert_close(whole, sum(parts) / 2)


def test_answers_are_columns_of_prompts_and_revisions() -> None:
    method = made().eval()
    make = method.maker()
    source = Prompts([{"prompt": "Ada has a cat."}, {"prompt": "Who"}], method.wording, max_length=64)
    with torch.no_grad():
        found = make(source[[0, 1]], revisions=2, most=4)
        assert list(found) == ["prompt", "answer", "revision 1", "revision 2"]
        assert all(output.form == "columns" for output in found.values())
        assert found["prompt"].values == ["Ada has a cat.", "Who"]
        pairs = make(method.example_batch(range(1)), revisions=0, most=4)
        assert list(pairs) == ["prompt", "answer"]
        assert pairs["answer"].values == found["answer"].values[:1]
        with pytest.raises(DataError, match="TextPrompts, not a Tensor"):
            make(Batch(torch.zeros(2, 3), torch.arange(2)))


def test_a_stage_before_hands_its_language_model_on() -> None:
    with isolated("earlier"):
        earlier = made(objective="dpo")
        for parameter in earlier.parameters():
            torch.nn.init.normal_(parameter)
    method = made()
    method.inherit(earlier)
    ours, theirs = method.language_model.state_dict(), earlier.language_model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    with pytest.raises(ConfigError, match="another one"):
        made("gemma").inherit(earlier)


def test_bad_settings_are_refused_by_name() -> None:
    for settings, message in (
        ({"objective": "dop"}, "objective 'dop' is unknown: did you mean 'dpo'"),
        ({"beta": 0.0}, "beta must be above 0"),
        ({"alpha": 0.0}, "alpha must lie in"),
        ({"tuning": "frozen"}, "frozen"),
    ):
        arguments: dict[str, Any] = settings
        with pytest.raises(ConfigError, match=message):
            made(**arguments)
    method = made()
    with pytest.raises(ConfigError, match="samples is 8, but the data have 3"):
        method.accept(Preferences(EXAMPLE[:3], method.wording), 3)
    long = Preferences([*EXAMPLE[:7], {**EXAMPLE[7], "prompt": "long " * 60}], method.wording)
    with pytest.raises(ConfigError, match="texts have up to 393 ids, and tiny:llama reads 256"):
        method.accept(long, 3)
    with pytest.raises(DataError, match="there are references for 8"):
        method.step(Batch(method.example_batch(range(1)).x, torch.tensor([8])))
    with pytest.raises(ConfigError, match="samples must be at least 1"):
        SRPO(CausalLM.example(), Wording.example(), samples=0)
    with pytest.raises(DataError, match="TextPairs, not a Tensor"):
        method.step(Batch(torch.zeros(2, 3), torch.arange(2)))
    assert CausalTokenizer.example().name == "tiny:llama"
    with pytest.raises(ConfigError, match="the wording is for tiny:llama"):
        SRPO(CausalLM("tiny:phi", "full"), Wording.example(), samples=8)
