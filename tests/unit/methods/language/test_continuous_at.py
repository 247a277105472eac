"""C-AdvUL and C-AdvIPO: closed forms, whose gradients flow, and which row a reference belongs to."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import isolated
from withstand.core.roles import Epoch

pytest.importorskip("transformers")
pytest.importorskip("peft")

from withstand.attacks.language.embeddings import EmbeddingAttack
from withstand.attacks.language.told import prompt_of, token_losses, told_loss
from withstand.data.text.container import TextPairs, behind
from withstand.data.text.source import EXAMPLE, Preferences
from withstand.data.text.wording import Wording
from withstand.losses.unlikelihood import leaky_cutoff, unlikelihood
from withstand.methods.language.continuous_at import UTILITY, CAdvIPO, CAdvUL, ContinuousAT
from withstand.methods.language.supervised import SupervisedTuning
from withstand.models.tokens.causal import CausalLM
from withstand.models.tokens.causal_base import TINY

NONE = EmbeddingAttack(0.0)
SOME = EmbeddingAttack(0.1, 2, None)


def lm(name: str = "tiny:llama", tuning: Any = "lora") -> CausalLM:
    with isolated("test"):
        return CausalLM(name, tuning, rank=2)


def pairs_of(batch: Batch) -> TextPairs:
    return TextPairs.of(batch.x)


def token_mean(model: CausalLM, texts: Any) -> Tensor:
    each, told = token_losses(model(texts.ids, texts.mask), texts)
    return each.sum() / told.sum()


def test_without_an_attack_it_is_unlikelihood_and_likelihood() -> None:
    method = CAdvUL(lm(), NONE, away_weight=0.3, toward_weight=0.7, utility_weight=2.0)
    batch = method.example_batch()
    pairs, useful = pairs_of(batch), pairs_of(batch.beside[UTILITY])
    model = method.language_model
    away = -token_mean(model, behind(pairs.prompt, pairs.rejected))
    toward = token_mean(model, behind(pairs.prompt, pairs.chosen))
    utility = token_mean(model, behind(useful.prompt, useful.chosen))
    wanted = 0.3 * leaky_cutoff(away, -5) + 0.7 * leaky_cutoff(toward, 0.5) + 2 * utility
    terms = method.step(batch)
    torch.testing.assert_close(terms["loss"], wanted)
    assert float(terms["away"]) == pytest.approx(float(away))
    other = CAdvUL(lm(), NONE, away="log-1-minus-p", utility_weight=0)
    texts = behind(pairs.prompt, pairs.rejected)
    each = unlikelihood(model(texts.ids, texts.mask), texts.ids, texts.told)
    mean = each.sum() / texts.told.sum()
    torch.testing.assert_close(other.step(batch)["loss"], 0.5 * mean + 0.5 * leaky_cutoff(toward, 0.5))


@pytest.mark.parametrize("name", TINY)
def test_both_answers_stand_behind_the_same_moved_prompt(name: str) -> None:
    method = CAdvUL(lm(name), SOME)
    pairs = pairs_of(method.example_batch())
    away, away_logits, toward, toward_logits = method.attacked(pairs)
    model = method.language_model
    delta = SOME.delta(model, away)
    torch.testing.assert_close(away_logits, model.from_embeddings(model.embed(away.ids) + delta, away.mask))
    for row in range(len(pairs)):
        length = int(pairs.prompt.lengths[row])
        own = int(toward.mask[row].sum())
        embedded = model.embed(toward.ids[row : row + 1, :own]).clone()
        embedded[0, :length] += delta[row, :length]
        alone = model.from_embeddings(embedded, torch.ones(1, own, dtype=torch.bool))
        torch.testing.assert_close(alone[0], toward_logits[row, :own], atol=1e-4, rtol=1e-4)
    assert float(told_loss(away_logits, away).mean()) < float(told_loss(model(away.ids, away.mask), away).mean())
    assert not delta[~prompt_of(away)].any()


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("make", [lambda one: CAdvUL(one, SOME), lambda one: CAdvIPO(one, 8, SOME)])
def test_adapters_learn_and_the_base_does_not(name: str, make: Any) -> None:
    method: ContinuousAT = make(lm(name))
    before = {key: weight.clone() for key, weight in method.named_parameters()}
    optimizer = torch.optim.SGD([weight for weight in method.parameters() if weight.requires_grad], 0.1)
    for _ in range(2):  # adapters' first half learns from the second step on
        terms = method.step(method.example_batch())
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
    for key, weight in method.named_parameters():
        assert ("lora_" in key) == (weight.grad is not None) == (not torch.equal(weight, before[key])), key


def test_ipo_starts_at_one_over_four_beta_squared_and_rests_at_its_margin() -> None:
    method = CAdvIPO(lm(), 8, NONE, beta=0.25, away_cutoff=-1e9)
    terms = method.step(method.example_batch())
    assert float(terms["loss"].detach()) == pytest.approx(1 / (4 * 0.25**2), rel=1e-5)
    assert float(terms["margin"]) == pytest.approx(0, abs=1e-6)
    method.reference[:, 0] -= 1 / (2 * 0.25)
    terms = method.step(method.example_batch())
    assert float(terms["loss"].detach()) == pytest.approx(0, abs=1e-9)
    terms["loss"].backward()
    assert all(w.grad is None or w.grad.abs().max() < 1e-5 for w in method.parameters())


def test_ipo_of_a_policy_that_moved_is_the_published_square() -> None:
    method = CAdvIPO(lm(tuning="full"), 8, SOME, beta=0.5, away_cutoff=-4.0, toward_cutoff=2.0)
    batch = method.example_batch()
    method.step(batch)
    with torch.no_grad():
        for weight in method.parameters():
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)), alpha=0.05)
    away, away_logits, toward, toward_logits = method.attacked(pairs_of(batch))
    margins = []
    for row in range(8):
        means = []
        for texts, logits, drop in (
            (toward, toward_logits, lambda v: v > -2.0),
            (away, away_logits, lambda v: v < -4.0),
        ):
            logp = logits[row, :-1].log_softmax(1).gather(1, texts.ids[row, 1:, None])[:, 0][texts.told[row, 1:]]
            means.append(torch.where(drop(logp), torch.zeros_like(logp), logp).mean())
        chosen, rejected = method.reference[row]
        margins.append((means[0] - means[1]) - (chosen - rejected))
    wanted = ((torch.stack(margins) - 1.0) ** 2).mean()
    torch.testing.assert_close(method.step(batch)["loss"], wanted)


def test_a_reference_belongs_to_its_row_and_stays() -> None:
    method = CAdvIPO(lm(tuning="full"), 8, NONE)
    whole = method.example_batch()

    def pass_over(function: Any) -> Tensor:
        return function(whole.x)  # type: ignore[no-any-return]

    method.before_epoch(Epoch(0, 0, pass_over))
    first = method.reference.clone()
    assert not first.isnan().any()
    order = torch.tensor([5, 1, 7, 0, 2, 6, 4, 3])
    shuffled = method.example_batch(order.tolist())  # type: ignore[arg-type]
    other = CAdvIPO(lm(tuning="full"), 8, NONE)
    other.step(shuffled)
    torch.testing.assert_close(other.reference, first)
    with torch.no_grad():
        for weight in method.parameters():
            weight.mul_(1.1)
    method.before_epoch(Epoch(1, 0, pass_over))
    method.step(whole)
    assert torch.equal(method.reference, first)


def test_answers_cut_one_by_one_can_be_gathered_from_smaller_batches() -> None:
    method = CAdvUL(lm(tuning="full"), SOME, over="answer", utility_weight=0, toward_cutoff=6.0)
    whole = method.step(method.example_batch())["loss"].detach()
    parts = [method.step(method.example_batch(range(first, first + 4)))["loss"].detach() for first in (0, 4)]
    torch.testing.assert_close((parts[0] + parts[1]) / 2, whole)


def test_dropout_inside_the_attack_is_as_told() -> None:
    with isolated("test"):
        model = CausalLM("tiny:llama", rank=2, dropout=0.5).train()
        for key, weight in model.named_parameters():
            if "lora_B" in key:
                torch.nn.init.normal_(weight)
    pairs = pairs_of(CAdvUL(model).example_batch())
    texts = behind(pairs.prompt, pairs.rejected)
    assert torch.equal(SOME.delta(model, texts), SOME.delta(model.eval(), texts))
    torch.manual_seed(0)
    noisy = SOME.delta(model.train(), texts, keep_mode=True)
    assert not torch.equal(noisy, SOME.delta(model, texts))
    assert model.training


def test_a_stage_before_teaches_to_comply_and_is_gone_on_with() -> None:
    first = SupervisedTuning(lm(), "rejected")
    batch = first.example_batch()
    pairs = pairs_of(batch)
    bare = first.step(replace(batch, beside={}))["loss"]
    torch.testing.assert_close(bare, token_mean(first.language_model, behind(pairs.prompt, pairs.rejected)))
    with torch.no_grad():
        for key, weight in first.named_parameters():
            if "lora_B" in key:
                weight.add_(0.1)
    method = CAdvUL(lm(), NONE)
    method.inherit(first)
    texts = behind(pairs.prompt, pairs.chosen)
    ours, theirs = (one.language_model.eval()(texts.ids, texts.mask) for one in (method, first))
    assert torch.equal(ours, theirs)
    wide = CAdvUL(CausalLM("tiny:llama", rank=3), NONE)
    with pytest.raises(ConfigError, match="take the same, with the same rank"):
        wide.inherit(first)
    with pytest.raises(ConfigError, match="is another one, tiny:llama"):  # whose weights have the same names and shapes
        CAdvUL(CausalLM("tiny:gemma", "full"), NONE).inherit(CAdvUL(CausalLM("tiny:llama", "full"), NONE))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CAdvUL(lm(tuning="frozen")), "a frozen language model learns nothing"),
        (lambda: CAdvUL(lm(), away_cutoff=0.0), "away_cutoff must be below 0"),
        (lambda: CAdvUL(lm(), away="no"), "away 'no' is unknown"),
        (lambda: CAdvUL(lm(), over="all"), "over 'all' is unknown"),
        (lambda: CAdvUL(lm(), away_weight=-1), "weights must be at least 0"),
        (lambda: CAdvIPO(lm(), 8, beta=0), "beta must be above 0"),
        (lambda: CAdvIPO(lm(), 0), "samples must be at least 1"),
        (lambda: SupervisedTuning(lm(), "none"), "learnt 'none' is unknown"),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize("make", [CAdvUL, SupervisedTuning])
def test_texts_that_are_longer_than_the_network_reads_are_refused_before_it_learns(make: Any) -> None:
    rows = [*EXAMPLE[:7], {**EXAMPLE[7], "prompt": "long " * 60}]
    source = Preferences(rows, Wording.example(), drafts=False, max_length=400)
    with pytest.raises(ConfigError, match=r"texts have up to 3\d\d ids, and tiny:llama reads 256: give max_length 256"):
        make(lm()).accept(source, 4)
    make(lm()).accept(Preferences(EXAMPLE, Wording.example(), drafts=False, max_length=400), 4)


def test_data_that_do_not_fit_are_refused() -> None:
    method = CAdvUL(lm(), NONE)
    batch = method.example_batch()
    with pytest.raises(DataError, match="by the name 'utility'"):
        method.step(replace(batch, beside={}))
    with pytest.raises(DataError, match="reads pairs of answers"):
        method.step(replace(batch, x=torch.zeros(8, 3)))
