"""Blocking: which pairs of records are worth comparing, by one sparse product of their character n-grams.

Comparing all pairs of N records costs N squared; here each record meets those that share rare n-grams with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from withstand.core.errors import ConfigError

_ROWS = 512
"""Rows of the product at once: it is sparse, and its memory bounded."""


@dataclass(frozen=True)
class Candidates:
    """Pairs of records, each once, and how alike their texts are.

    Attributes:
        left: places, int64 `(M,)`; always below `right`.
        right: places, likewise.
        cosine: of the TF-IDF vectors, float64 `(M,)`.
    """

    left: npt.NDArray[np.int64]
    right: npt.NDArray[np.int64]
    cosine: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.left)


def ngram_vectors(texts: Sequence[str], *, ngrams: tuple[int, int] = (3, 3)) -> Any:
    """Return TF-IDF vectors of length 1 of texts' character n-grams, inside words and at their ends: CSR `(N, T)`.

    A text without any n-gram has a vector of 0.
    """
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import TfidfVectorizer

    if not any(text.strip() for text in texts):
        return csr_matrix((len(texts), 1))
    made = TfidfVectorizer(analyzer="char_wb", ngram_range=ngrams, sublinear_tf=True, dtype=np.float64)
    return made.fit_transform(texts).tocsr()


def candidates(
    texts: Sequence[str],
    tables: npt.NDArray[np.int64] | None = None,
    *,
    nearest: int = 10,
    least: float = 0.1,
    vectors: Any = None,
) -> Candidates:
    """Return the pairs in which one record is among the other's nearest, by the cosine of their n-grams.

    Pairs of a record with itself never are. Ties beyond `nearest` are cut by place.

    Args:
        texts: a record's values as one text, `N` of them.
        tables: which table each record is of, `(N,)`: pairs are of different tables. None pairs all with all.
        nearest: candidates of each record, in each other table.
        least: smallest cosine of a pair.
        vectors: what `ngram_vectors` gives of the texts, where it is known.

    Raises:
        ConfigError: fewer than one candidate.
    """
    if nearest < 1:
        raise ConfigError(f"nearest must be at least 1, not {nearest}")
    held = ngram_vectors(texts) if vectors is None else vectors
    sides: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]
    everyone = np.arange(len(texts))
    if tables is None:
        sides = [(everyone, everyone)]
    else:
        groups = [np.flatnonzero(tables == table) for table in np.unique(tables)]
        sides = [(one, other) for place, one in enumerate(groups) for other in groups if other is not groups[place]]
    found: dict[str, list[npt.NDArray[Any]]] = {"left": [], "right": [], "cosine": []}
    for rows, columns in sides:
        right = held[columns].T.tocsr()
        for start in range(0, len(rows), _ROWS):
            some = rows[start : start + _ROWS]
            product = (held[some] @ right).tocsr()
            left, other, cosine = _top(product, some, columns, nearest, least)
            found["left"].append(np.minimum(left, other))
            found["right"].append(np.maximum(left, other))
            found["cosine"].append(cosine)
    if not found["left"]:
        return Candidates(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    left, right, cosine = (np.concatenate(found[name]) for name in ("left", "right", "cosine"))
    _, first = np.unique(left * len(texts) + right, return_index=True)
    return Candidates(left[first].astype(np.int64), right[first].astype(np.int64), cosine[first])


def _top(
    product: Any, rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64], nearest: int, least: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return the entries of a sparse product that are among the largest of their row, none of a record with itself."""
    counts = np.diff(product.indptr)
    row, column, value = np.repeat(np.arange(len(rows)), counts), product.indices, product.data
    keep = (value >= least) & (rows[row] != columns[column])
    row, column, value = row[keep], column[keep], value[keep]
    order = np.lexsort((column, -value, row))
    row, column, value = row[order], column[order], value[order]
    starts = np.searchsorted(row, np.arange(len(rows)))
    keep = np.arange(len(row)) - starts[row] < nearest
    return rows[row[keep]], columns[column[keep]], np.clip(value[keep], 0.0, 1.0)
