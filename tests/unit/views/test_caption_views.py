"""Views of captions: what goes, what moves, and what never happens."""

import pytest
import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import Draws
from withstand.data.captions.source import CAPTIONS
from withstand.data.captions.words import Vocabulary
from withstand.views.captions import (
    TEXTS,
    CaptionViews,
    dropped_words,
    exchanged,
    replaced_word,
    without,
)
from withstand.views.pictures.crop import RandomResizedCrop

WORDS = Vocabulary(("a", "the", "dog", "cat", "runs", "fast"), 8)
CROP = RandomResizedCrop(8, (0.5, 1.0))


def many(text: str, count: int = 400) -> Tensor:
    return torch.nn.functional.pad(WORDS.ids([text] * count), (0, 2))


def draws(count: int = 400) -> Draws:
    return Draws(0, torch.arange(count))


def said(rows: Tensor) -> set[str]:
    return {" ".join(WORDS.words[word - 2] for word in row if word) for row in rows.tolist()}


def test_words_close_up() -> None:
    texts = torch.tensor([[2, 3, 4, 0], [5, 0, 0, 0]])
    gone = torch.tensor([[True, False, True, False], [False] * 4])
    assert without(texts, gone).tolist() == [[3, 0, 0, 0], [5, 0, 0, 0]]


def test_two_words_change_places() -> None:
    found = said(exchanged(many("dog cat runs"), draws()))
    assert found == {"cat dog runs", "runs cat dog", "dog runs cat"}
    assert said(exchanged(many("dog"), draws())) == {"dog"}


def test_words_are_dropped_each_by_itself_and_never_all() -> None:
    found = dropped_words(many("dog cat runs"), 0.3, draws())
    assert ((found != 0).sum(1) > 0).all()
    assert abs(float((found != 0).sum(1).float().mean()) - 2.1) < 0.15
    assert said(dropped_words(many("dog cat"), 1.0, draws())) == {"dog", "cat"}
    assert said(dropped_words(many("dog cat"), 0.0, draws())) == {"dog cat"}


def test_one_word_becomes_a_synonym() -> None:
    view = CaptionViews(CROP, (CROP,), WORDS, synonyms=(("dog", "cat"), ("runs", "fast", "unheard")))
    table, counts = view._synonyms()
    assert said(replaced_word(many("the dog runs"), table, counts, draws())) == {"the cat runs", "the dog fast"}
    assert said(replaced_word(many("the"), table, counts, draws())) == {"the"}


def test_stop_words_go_by_chance_if_others_remain() -> None:
    for removal, found in ((1.0, {"dog runs"}), (0.0, {"the dog runs"}), (0.8, {"dog runs", "the dog runs"})):
        view = CaptionViews(CROP, (), WORDS, removal=removal)
        assert said(view.changed(many("the dog runs"), draws(), strong=False)) == found
    assert said(view.changed(many("the a"), draws(), strong=False)) == {"the a"}


def test_every_view_draws_a_caption_that_is_there() -> None:
    captions = torch.zeros(400, 3, 6, dtype=torch.int64)
    captions[:, 0, :1], captions[:, 1, :2] = 4, 5
    x = torch.zeros(400, 3, 8, 8, dtype=torch.uint8)
    view = CaptionViews(CROP, (CROP, CROP), WORDS)
    batch = Batch(x, torch.arange(400), extras={CAPTIONS: captions})
    seen = view(batch, draws())
    assert len(seen.views) == 3
    texts = seen.extras[TEXTS]
    assert texts.shape == (400, 3, 2)
    assert (texts[..., 0] != 0).all()
    firsts = texts[:, 0, 0]
    assert 150 < int((firsts == 4).sum()) < 250
    assert not torch.equal(firsts, texts[:, 1, 0])
    assert torch.equal(batch.extras[CAPTIONS], captions)
    # A sample's draws do not hang on its company.
    rows = torch.tensor([7, 3])
    some = view(Batch(x[rows], rows, extras={CAPTIONS: captions[rows]}), Draws(0, rows))
    assert torch.equal(some.extras[TEXTS], texts[rows])


def test_what_is_missing_is_said() -> None:
    with pytest.raises(DataError, match="have no captions"):
        CaptionViews(CROP, (), WORDS)(Batch(torch.zeros(1, 3, 8, 8), torch.arange(1)), draws(1))
    with pytest.raises(ConfigError, match="removal"):
        CaptionViews(CROP, (), WORDS, removal=1.5)
    with pytest.raises(ConfigError, match="weights"):
        CaptionViews(CROP, (), WORDS, weights=(1.0, 0.0, 0.0))
