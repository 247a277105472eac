"""The captioner's decoder: masks, padding, and log-probabilities that are those of step by step decoding."""

import pytest
import torch
from torch import Tensor

from withstand.core.errors import ConfigError, DataError
from withstand.core.part import build, describe
from withstand.data.captions.words import UNKNOWN, Vocabulary
from withstand.models.pictures.normalized import Normalized
from withstand.models.tokens.caption_decoder import CaptionDecoder, TinyCaptioner

WORDS = Vocabulary(("a", "photo", "of", "red", "boat", "what", "is", "this"), 6)


def network() -> TinyCaptioner:
    torch.manual_seed(0)
    encoder = Normalized.example()
    decoder = CaptionDecoder(encoder.width, len(WORDS), WORDS.context, 16, 2, 2, 3)
    torch.nn.init.normal_(decoder.out.weight, std=0.5)  # far from uniform
    return TinyCaptioner(encoder, decoder, WORDS).double().eval()


def images(count: int = 3) -> Tensor:
    return torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def stepwise(model: TinyCaptioner, image: Tensor, prompt: str, target: str) -> float:
    """The log-probability of a text by asking for one word after the other."""
    prefix = model.read(image)
    prompts = model.vocabulary.ids([prompt])
    words = [*model.vocabulary.ids([target])[0].tolist(), 0]
    total = 0.0
    for place, word in enumerate(words):
        so_far = torch.tensor([words[:place]], dtype=torch.int64).view(1, -1)
        logits = model.decoder(prefix, prompts, so_far)[0, -1]
        total += float(logits.log_softmax(0)[word].detach())
    return total


def test_the_nll_is_that_of_explicit_decoding() -> None:
    model, x = network(), images(1)
    for prompt, target in (("what is this", "a red boat"), ("this", "a photo of a red boat")):
        nll = float(model.nll(x, [prompt], [target]).detach())
        assert nll == pytest.approx(-stepwise(model, x, prompt, target), rel=1e-5)


def test_a_text_is_as_likely_alone_as_in_company() -> None:
    model, x = network(), images()
    prompts, targets = ["what is this", "this", "a"], ["a", "a photo of a red boat", "red boat"]
    together = model.nll(x, prompts, targets)
    alone = torch.cat([model.nll(x[i : i + 1], [prompts[i]], [targets[i]]) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)
    # Further padding, of prompts and answers, changes nothing.
    ids, said = WORDS.ids(prompts), WORDS.ids(targets)[:, :5]
    wide = [torch.cat([some, some.new_zeros(3, 1)], 1) for some in (ids, said)]
    prefix = model.read(x)
    one, other = model.decoder.token_nll(prefix, ids, said), model.decoder.token_nll(prefix, *wide)
    torch.testing.assert_close((one[0] * one[2]).sum(1), (other[0] * other[2]).sum(1))


def test_only_the_answer_counts_and_all_that_comes_before_matters() -> None:
    model, x = network(), images(1)
    plain = model.score(model.read(x), ["what is this"], ["red boat"])
    assert plain.tokens.tolist() == [3], "two words and the end"
    for image, prompt in ((x, "a photo of"), (1 - x, "what is this")):
        other = model.nll(image, [prompt], ["red boat"])
        assert float(plain.nll.detach()) != pytest.approx(float(other.detach()), rel=1e-6)


def test_greedy_decoding_says_a_text_where_it_is_the_likeliest_word_by_word() -> None:
    model, x = network(), images(8)
    prompts = ["what is this", "this"] * 4
    said = model.say(x, prompts)
    assert len(set(said)) > 1
    for row, text in enumerate(said):
        known = WORDS.ids([text])[0].tolist() if text else []
        if not known or len(known) == WORDS.context:
            continue
        assert bool(model.score(model.read(x[row : row + 1]), [prompts[row]], [text]).exact), text
        other = "boat " + text if len(known) < 5 else "boat"
        assert not bool(model.score(model.read(x[row : row + 1]), [prompts[row]], [other]).exact)
    assert said == [model.say(x[row : row + 1], [prompts[row]])[0] for row in range(8)]


def test_the_unknown_word_is_never_said_and_never_learnt() -> None:
    model, x = network(), images(1)
    logits = model.decoder(model.read(x), WORDS.ids(["this"]), WORDS.ids(["a zebra"]))
    assert bool((logits[..., UNKNOWN] == -torch.inf).all())
    loss, _, counts = model.decoder.token_nll(model.read(x), WORDS.ids(["this"]), WORDS.ids(["a zebra"]))
    assert counts.tolist() == [[True, False, True]]
    assert bool(loss.isfinite().all())


def test_gradients_reach_the_pixels() -> None:
    model, x = network(), images(2).requires_grad_()
    (slope,) = torch.autograd.grad(model.nll(x, ["this"] * 2, ["a boat"] * 2).sum(), x)
    assert bool((slope.flatten(1).abs().sum(1) > 0).all())


def test_targets_outside_the_vocabulary_are_refused() -> None:
    with pytest.raises(ConfigError, match="the target 'a red zebra' has the word 'zebra', which no caption has"):
        network().require("a red zebra", "the target")


def test_texts_that_are_not_one_a_picture_are_refused() -> None:
    model, x = network(), images(2)
    with pytest.raises(ConfigError, match="there are 2 pictures and 1 texts"):
        model.nll(x, ["this"] * 2, ["a boat"])
    with pytest.raises(ConfigError, match="there are 2 pictures and one string"):
        model.say(x, "this")
    with pytest.raises(DataError, match="a text has 7 words, and this decoder reads 6"):
        model.decoder(model.read(x), torch.full((2, 7), 2), torch.full((2, 1), 2))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"width": 9}, "width must be a multiple of heads, not width=9, heads=2"),
        ({"prefix": 0}, "prefix must be at least 1, not 0"),
        ({"vocabulary": 2}, "vocabulary must be at least 3, not 2"),
    ],
)
def test_bad_sizes(changed: dict[str, int], words: str) -> None:
    sizes = {"features": 4, "vocabulary": 6, "width": 8, "heads": 2, "prefix": 2}
    with pytest.raises(ConfigError, match=words):
        CaptionDecoder(**{**sizes, **changed})


def test_a_captioner_is_built_again_from_its_description() -> None:
    model = TinyCaptioner.example().eval()
    other = build(describe(model)).eval()
    other.load_state_dict(model.state_dict())
    x = images(2).float()
    assert torch.equal(model.nll(x, ["the dog"] * 2, ["a cat"] * 2), other.nll(x, ["the dog"] * 2, ["a cat"] * 2))
    with pytest.raises(ConfigError, match="the decoder knows 9 ids and 5 words, the vocabulary has 11 and 6"):
        TinyCaptioner(model.encoder, CaptionDecoder.example(), model.vocabulary)
