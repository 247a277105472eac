import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from torch.nn.functional import normalize

from withstand.core.errors import ConfigError
from withstand.evaluation.probes.knn import neighbors, vote


def clouds(count: int, width: int = 16, classes: int = 5, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(0, classes, (count,), generator=generator)
    centers = torch.randn(classes, width, generator=torch.Generator().manual_seed(9))
    return centers[y] + torch.randn(count, width, generator=generator), y


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("k", [1, 7, 50])
def test_neighbors_equal_scikit_learns(metric: str, k: int) -> None:
    bank, _ = clouds(300)
    queries, _ = clouds(40, seed=1)
    near, rows = neighbors(bank, queries, k, metric=metric, chunk=1 << 12)
    model = NearestNeighbors(n_neighbors=k, algorithm="brute", metric=metric).fit(bank.double().numpy())
    distance, expected = model.kneighbors(queries.double().numpy())
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_allclose(near, 1 - distance if metric == "cosine" else -distance, atol=1e-5)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_chunks_change_nothing(metric: str) -> None:
    bank, queries = torch.randn(500, 8), torch.randn(33, 8)
    whole = neighbors(bank, queries, 5, metric=metric, chunk=1 << 20)
    for chunk in (64, 1 << 9, 1 << 13):
        parts = neighbors(bank, queries, 5, metric=metric, chunk=chunk)
        assert torch.equal(parts[1], whole[1])
        torch.testing.assert_close(parts[0], whole[0])


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(0, 10**6), st.sampled_from([64, 1 << 12]))
def test_equally_near_rows_come_in_their_order(k: int, seed: int, chunk: int) -> None:
    # Integers on a small grid: scores are exact, and most of them tie.
    generator = torch.Generator().manual_seed(seed)
    bank = torch.randint(-1, 2, (40, 3), generator=generator).float()
    queries = torch.randint(-1, 2, (5, 3), generator=generator).float()
    near, rows = neighbors(bank - bank.mean(0).round(), queries, k, metric="euclidean", chunk=chunk)
    distance = (queries[:, None] - (bank - bank.mean(0).round())[None]).square().sum(2)
    expected = distance.sort(dim=1, stable=True).indices[:, :k]
    got = distance.gather(1, rows)
    assert torch.equal(got, distance.gather(1, expected))
    torch.testing.assert_close(near, -got.sqrt(), atol=1e-3, rtol=0)


def test_a_collapsed_bank_gives_its_first_rows() -> None:
    near, rows = neighbors(torch.ones(200, 4), torch.ones(3, 4), 6, chunk=256)
    assert rows.tolist() == [list(range(6))] * 3
    torch.testing.assert_close(near, torch.ones(3, 6))


def test_exact_copies_keep_their_order_across_blocks() -> None:
    bank = torch.eye(4).repeat(50, 1)
    _, rows = neighbors(bank, torch.eye(4), 10, chunk=64)
    assert rows.tolist() == [[first + 4 * copy for copy in range(10)] for first in range(4)]


def test_plain_vote_equals_scikit_learns() -> None:
    bank, labels = clouds(400)
    queries, _ = clouds(200, seed=3)
    model = KNeighborsClassifier(9, algorithm="brute").fit(bank.numpy(), labels.numpy())
    shares = vote(bank, labels, queries, k=9, temperature=None, metric="euclidean")
    np.testing.assert_allclose(shares, model.predict_proba(queries.numpy()), atol=1e-6)
    np.testing.assert_array_equal(shares.argmax(1), model.predict(queries.numpy()))


@pytest.mark.parametrize("temperature", [0.07, 0.1, 1.0])
def test_weighted_vote_equals_its_formula(temperature: float) -> None:
    bank, labels = clouds(100)
    queries, _ = clouds(20, seed=3)
    cosine = normalize(queries.double(), dim=1) @ normalize(bank.double(), dim=1).T
    expected = torch.zeros(20, 5, dtype=torch.float64)
    for row in range(20):
        for place in cosine[row].argsort(descending=True)[:12]:
            expected[row, labels[place]] += (cosine[row, place] / temperature).exp()
    found = vote(bank, labels, queries, k=12, temperature=temperature)
    torch.testing.assert_close(found.double(), expected / expected.sum(1, keepdim=True), atol=1e-4, rtol=1e-4)


def test_a_tiny_temperature_does_not_overflow() -> None:
    bank, labels = clouds(50)
    shares = vote(bank, labels, bank, k=10, temperature=1e-4)
    assert torch.equal(shares.argmax(1), labels)
    assert torch.isfinite(shares).all()


def test_the_order_of_the_bank_does_not_matter() -> None:
    bank, labels = clouds(300)
    queries, _ = clouds(100, seed=4)
    order = torch.randperm(300)
    torch.testing.assert_close(vote(bank[order], labels[order], queries), vote(bank, labels, queries))


def test_wrong_settings_are_refused() -> None:
    bank, labels = clouds(10)
    for bad in ({"k": 11}, {"k": 0}, {"temperature": 0.0}, {"metric": "euclidean"}, {"metric": "cosin"}):
        with pytest.raises(ConfigError):
            vote(bank, labels, bank, **{"k": 3, **bad})
