"""The encoder and matcher of records: missing values, order of the two, and a plain form of the attention."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from withstand.core.errors import ConfigError
from withstand.core.random import isolated
from withstand.models.tables.records import Read, RecordEncoder, RecordMatcher, hashed_ngrams


def codes(*texts: str, length: int = 16) -> Tensor:
    held = torch.zeros(len(texts), length, dtype=torch.int64)
    for row, text in enumerate(texts):
        held[row, : len(text)] = torch.tensor([ord(letter) for letter in text], dtype=torch.int64)
    return held


def matcher() -> RecordMatcher:
    with isolated(1):
        return RecordMatcher(RecordEncoder(8, buckets=64), hidden=(12, 6)).double().eval()


LEFT = torch.stack([codes("blue lamp", "rome", ""), codes("old mill", "", "x"), codes("", "", "")])
RIGHT = torch.stack([codes("blue lamb", "", ""), codes("old mill", "oslo", "y"), codes("inn", "bari", "z")])


def test_ngrams_are_those_of_the_value_with_its_edges() -> None:
    _, signs = hashed_ngrams(codes("abc", "a", ""), (2, 3), 1000)
    assert signs.abs().sum(1).tolist() == [4 + 3, 2 + 1, 0], "' abc ' has four 2-grams and three 3-grams"
    places, signs = hashed_ngrams(codes("abab"), (2,), 2**20)
    held = places[0][signs[0] != 0].tolist()
    assert len(held) == 5
    assert held[1] == held[3]
    assert len(set(held)) == 4, "equal n-grams meet in one bucket, others hardly ever"
    whole, padded = hashed_ngrams(codes("xyz", length=16), (2,), 99), hashed_ngrams(codes("xyz", length=30), (2,), 99)
    assert whole[0][0][whole[1][0] != 0].tolist() == padded[0][0][padded[1][0] != 0].tolist()


def test_vectors_have_length_1_and_missing_values_none() -> None:
    encoder = matcher().encoder
    vectors, there = encoder.tokens(LEFT)
    assert there.tolist() == [[True, True, False], [True, False, True], [False, False, False]]
    torch.testing.assert_close(vectors.norm(dim=2), there.double(), atol=1e-12, rtol=0)
    torch.testing.assert_close(encoder(LEFT)[0], vectors[0, :2].mean(0), atol=1e-12, rtol=0)
    assert not bool(encoder(LEFT)[2].any())


def test_the_order_of_two_records_does_not_matter_and_a_record_without_values_has_a_score() -> None:
    model = matcher()
    with torch.no_grad():
        one, other = model(LEFT, RIGHT), model(RIGHT, LEFT)
        empty = model(LEFT[2:], LEFT[2:])
    torch.testing.assert_close(one, other, atol=1e-12, rtol=0)
    assert bool(empty.isfinite().all())


def test_what_stands_at_a_missing_value_changes_nothing() -> None:
    model = matcher()
    vectors, there = model.encoder.tokens(LEFT)
    right = model.read(*model.encoder.tokens(RIGHT))
    moved = torch.where(there[..., None], vectors, torch.randn(vectors.shape, dtype=torch.float64))
    with torch.no_grad():
        one, other = model.compare(model.read(vectors, there), right), model.compare(model.read(moved, there), right)
    torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


def test_scores_equal_the_plain_formula() -> None:
    model = matcher()
    with torch.no_grad():
        found = model(LEFT, RIGHT)
        for row in range(2):
            sides = []
            for x in (LEFT[row], RIGHT[row]):
                kept = [value for value in x if bool(value.any())]
                counts = model.encoder.counts(torch.stack(kept)) * model.encoder.weights
                sides.append(normalize(counts.double() @ model.encoder.map.weight.T, dim=1))
            tokens = torch.cat(sides)
            scores = model.query(tokens) @ model.key(tokens).T / 8**0.5
            mixed = tokens + scores.softmax(1) @ model.value(tokens)
            u, v = mixed[: len(sides[0])].mean(0), mixed[len(sides[0]) :].mean(0)
            apart = ((u - v) ** 2 + 1e-6).sqrt() - 1e-3
            expected = model.head(torch.cat([apart, u * v]))
            torch.testing.assert_close(found[row : row + 1], expected, atol=1e-10, rtol=0)


def test_rare_ngrams_weigh_as_scikit_learn_weighs_them() -> None:
    encoder = RecordEncoder(4, buckets=2**16, ngrams=(2,))
    x = torch.stack([codes("ab"), codes("ab"), codes("xy")])
    encoder.weigh(encoder.documents(x), 3)
    places, _ = hashed_ngrams(codes("ab"), (2,), 2**16)
    expected = torch.log(torch.tensor(4 / 3)) + 1  # in two of three values
    torch.testing.assert_close(encoder.weights[places[0, 1]], expected)
    assert float(encoder.weights.max()) == pytest.approx(float(torch.log(torch.tensor(4.0)) + 1))


def test_read_records_can_be_chosen_and_joined() -> None:
    model = matcher()
    read = model.read(*model.encoder.tokens(LEFT))
    again = Read.joined([read[torch.tensor([0])], read[1:]])
    assert len(again) == 3
    assert torch.equal(again.tokens, read.tokens)
    for wrong in ({"buckets": 1}, {"ngrams": ()}, {"ngrams": (9,)}):
        with pytest.raises(ConfigError):
            RecordEncoder(4, **wrong)  # type: ignore[arg-type]
