"""Candidate pairs equal those of a plain product of all with all."""

import numpy as np
import pytest

from withstand.core.errors import ConfigError
from withstand.data.pairs.blocking import candidates, ngram_vectors

TEXTS = [f"{name} {town}" for name in ("blue lamp", "blue lamb", "old mill", "casa verde", "") for town in ("rome", "")]


@pytest.mark.parametrize("tables", [None, np.arange(10) % 2])
@pytest.mark.parametrize("nearest", [1, 3])
def test_candidates_are_the_nearest_of_a_full_product(tables: np.ndarray | None, nearest: int) -> None:
    found = candidates(TEXTS, tables, nearest=nearest, least=0.05)
    dense = (ngram_vectors(TEXTS) @ ngram_vectors(TEXTS).T).toarray()
    expected = set()
    for row in range(len(TEXTS)):
        allowed = [
            other for other in range(len(TEXTS))
            if other != row and dense[row, other] >= 0.05 and (tables is None or tables[row] != tables[other])
        ]  # fmt: skip
        for other in sorted(allowed, key=lambda one: (-dense[row, one], one))[:nearest]:
            expected.add((min(row, other), max(row, other)))
    pairs = list(zip(found.left.tolist(), found.right.tolist(), strict=True))
    assert len(pairs) == len(set(pairs)), "each pair once"
    assert set(pairs) == expected
    np.testing.assert_allclose(found.cosine, [dense[pair] for pair in pairs], atol=1e-12)


def test_empty_texts_are_nobodys_candidates() -> None:
    assert len(candidates(["", " ", ""])) == 0
    assert 9 not in candidates(TEXTS).right
    with pytest.raises(ConfigError, match="nearest"):
        candidates(TEXTS, nearest=0)
