"""Attacks on language models: embeddings within balls, and suffixes."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from withstand.core.errors import ConfigError
from withstand.core.random import isolated

pytest.importorskip("transformers")
pytest.importorskip("peft")

from withstand.attacks.language.embeddings import EmbeddingAttack
from withstand.attacks.language.suffix import SuffixSearch
from withstand.attacks.language.told import prompt_of, said, told_loss
from withstand.core.sequences import Sequences
from withstand.data.text.container import Told, behind
from withstand.models.tokens.causal import CausalLM
from withstand.models.tokens.causal_base import TINY

PROMPTS, ANSWERS = ("Say it", "What is the word, please?", "Go"), ("no", "the word is ball", "yes!")


def model(name: str = "tiny:llama") -> CausalLM:
    with isolated("test"):
        return CausalLM(name, rank=2).train()


def told(lm: CausalLM, rows: slice = slice(None)) -> Told:
    prompts = [torch.tensor(lm.tokenizer.encode(text)) for text in PROMPTS[rows]]
    answers = [torch.tensor(lm.tokenizer.encode(text, start=False)) for text in ANSWERS[rows]]
    return behind(Sequences.padded(prompts), Sequences.padded(answers))


def test_the_loss_is_the_mean_over_an_answers_tokens_id_0_too() -> None:
    logits = torch.randn(2, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([[1, 0, 3, 0], [1, 2, 0, 5]])
    texts = Told(
        ids,
        torch.tensor([[True] * 4, [True] * 4]),
        torch.tensor([[False, False, True, True], [False, True, True, True]]),
    )
    wanted = torch.stack([cross_entropy(logits[0, 1:3], ids[0, 2:]), cross_entropy(logits[1, :3], ids[1, 1:])])
    torch.testing.assert_close(told_loss(logits, texts), wanted)
    sure = torch.full((2, 4, 6), -9.0)
    sure[:, :-1].scatter_(2, ids[:, 1:, None], 9.0)
    assert said(sure, texts).tolist() == [True, True]
    sure[0, 0], sure[1, 0] = 0, 0  # before the first row's answer is its prompt
    assert said(sure, texts).tolist() == [True, False]


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_embeddings_move_within_their_balls_towards_the_answer(name: str, norm: str) -> None:
    lm = model(name)
    texts = told(lm)
    attack = EmbeddingAttack(0.1, 5, None, norm)
    found = attack(lm, texts)
    radius = attack.ball(lm).eps
    mean = float(lm.table.norm(dim=1).mean())
    assert radius == pytest.approx(0.1 * mean / (1 if norm == "l2" else 4))
    size = found.delta.norm(dim=2) if norm == "l2" else found.delta.abs().amax(2)
    assert (size <= radius * (1 + 1e-6)).all()
    assert (size[prompt_of(texts)] > 0.5 * radius).all()
    assert not found.delta[~prompt_of(texts)].any()
    assert (found.after < found.before).all()
    torch.testing.assert_close(attack.delta(lm, texts), found.delta)
    assert all(module.training for module in lm.modules()), "modes are as they were"
    assert {key for key, weight in lm.named_parameters() if weight.requires_grad} == {
        key for key, _ in lm.named_parameters() if "lora_" in key
    }
    assert all(weight.grad is None for weight in lm.parameters())


def test_a_text_does_not_know_its_company() -> None:
    lm = model()
    together = EmbeddingAttack(0.1, 3, None)(lm, told(lm))
    alone = EmbeddingAttack(0.1, 3, None)(lm, told(lm, slice(0, 1)))
    length = alone.delta.shape[1]
    torch.testing.assert_close(together.delta[:1, :length], alone.delta)
    torch.testing.assert_close(together.after[:1], alone.after, atol=1e-5, rtol=1e-5)


def test_steps_of_the_published_size_add_up_to_no_more() -> None:
    lm = model()
    delta = EmbeddingAttack(10.0, 3).delta(lm, told(lm))
    assert float(delta.abs().max()) <= 3e-4 * (1 + 1e-6)
    first = EmbeddingAttack(10.0, 1, 1e-5)
    found = first(lm.double(), told(lm))
    texts = told(lm)
    embedded = lm.embed(texts.ids).detach().requires_grad_()
    (slope,) = torch.autograd.grad(told_loss(lm.eval().from_embeddings(embedded, texts.mask), texts).sum(), embedded)
    fall = 1e-5 * (slope * prompt_of(texts)[..., None]).abs().sum((1, 2))
    torch.testing.assert_close(found.before - found.after, fall, rtol=0.02, atol=1e-8)


@pytest.mark.parametrize("attack", [EmbeddingAttack(0.0), EmbeddingAttack(0.1, 0)])
def test_no_radius_and_no_steps_move_nothing(attack: EmbeddingAttack) -> None:
    lm = model()
    found = attack(lm, told(lm))
    assert not found.delta.any()
    assert torch.equal(found.before, found.after)


def test_weights_are_free_again_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = model()
    flags = [weight.requires_grad for weight in lm.parameters()]

    def broken(*_: object) -> torch.Tensor:
        raise RuntimeError("broken")

    monkeypatch.setattr(type(lm), "from_embeddings", broken)
    with pytest.raises(RuntimeError, match="broken"):
        EmbeddingAttack()(lm, told(lm))
    assert [weight.requires_grad for weight in lm.parameters()] == flags
    assert lm.training


@pytest.mark.parametrize("name", TINY)
def test_a_suffix_makes_the_answer_likelier_and_can_be_typed(name: str) -> None:
    lm = model(name)
    prompt, answer = (torch.tensor(lm.tokenizer.encode(text)) for text in ("Say", "ok"))
    answer = answer[1:]
    search = SuffixSearch(4, 6, 24, 16)
    found = search(lm, prompt, answer)
    ids = torch.cat([prompt, found.ids, answer])[None]
    mask = torch.ones_like(ids, dtype=torch.bool)
    texts = Told(ids, mask, torch.arange(ids.shape[1])[None] >= len(prompt) + 4)
    with torch.no_grad():
        logits = lm.eval()(ids, mask)
    assert found.after == pytest.approx(float(told_loss(logits, texts)), abs=1e-4)
    assert found.reached == bool(said(logits, texts))
    start = SuffixSearch(4, 0, 24, 16)(lm, prompt, answer)
    assert found.after < start.after
    assert lm.tokenizer.encode("Say" + found.text) == torch.cat([prompt, found.ids]).tolist()
    again = search(lm, prompt, answer)
    assert torch.equal(again.ids, found.ids)
    assert again.queries == found.queries


def test_a_suffix_finds_the_best_of_all_exchanges_where_all_are_tried() -> None:
    """One token, and as many candidates as there are pieces: the best piece is found in one step."""
    lm = model()
    prompt, answer = torch.tensor([1, 76]), torch.tensor([90])
    found = SuffixSearch(1, 1, 4000, 260, as_text=False)(lm, prompt, answer)
    ids = torch.stack([torch.tensor([1, 76, piece, 90]) for piece in range(4, 260)])
    texts = Told(ids, torch.ones_like(ids, dtype=torch.bool), (torch.arange(4) == 3).expand(256, 4))
    with torch.no_grad():
        losses = told_loss(lm.eval()(ids, texts.mask), texts)
    assert found.after == pytest.approx(float(losses.min()), abs=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EmbeddingAttack(-1), "eps must be finite"), (lambda: EmbeddingAttack(steps=-1), "steps must be"),
        (lambda: EmbeddingAttack(step_size=0), "step_size must be above 0"),
        (lambda: EmbeddingAttack(norm="l3"), "norm 'l3' is unknown"),
        (lambda: SuffixSearch(0), "length must be at least 1"), (lambda: SuffixSearch(steps=-1), "steps must be"),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(make, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_a_tokenizer_that_reads_nothing_back_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = model()
    monkeypatch.setattr(SuffixSearch, "_read_back", lambda *_: False)
    with pytest.raises(ConfigError, match="search with as_text=False"):
        SuffixSearch(2, 1)(lm, torch.tensor([1, 76]), torch.tensor([90]))
    assert lm.training
