"""How much one field of a table tells of another: mutual information, in nats.

Sizes: N samples, k fields.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from sklearn.metrics import mutual_info_score

from withstand.core.errors import DataError


def mutual_information(codes: npt.NDArray[np.int64], fields: Mapping[str, Sequence[int]]) -> npt.NDArray[np.float64]:
    """Return the mutual information of every two fields, float64 `(k, k)`; their entropies on the diagonal.

    `MI(V, W) = sum_ab P(a, b) log(P(a, b) / (P(a) P(b)))`. A field of several values counts each pair of values that a
    sample has; a missing value is one of its own.

    Args:
        codes: each sample's values, `(N, S)`, -1 where there is none.
        fields: the columns of each field.

    Raises:
        DataError: no samples.

    >>> mutual_information(np.array([[0, 0], [1, 1]]), {"a": (0,), "b": (1,)}).round(3).tolist()
    [[0.693, 0.693], [0.693, 0.693]]
    """
    if not len(codes):
        raise DataError("there are no samples to count values of")
    held = [_values(codes[:, list(columns)]) for columns in fields.values()]
    found = np.zeros((len(held), len(held)))
    for first, (rows, values) in enumerate(held):
        for second in range(first, len(held)):
            one, two = (values, values) if first == second else _met(rows, values, *held[second])
            found[first, second] = found[second, first] = max(0.0, mutual_info_score(one, two))
    return found


def _values(codes: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return (sample, value) of every value that a sample has; -1 once where it has none."""
    known = codes >= 0
    known[:, 0] |= ~known.any(1)
    rows, columns = known.nonzero()
    return rows.astype(np.int64), codes[rows, columns]


def _met(
    rows: npt.NDArray[np.int64], values: npt.NDArray[np.int64],
    others: npt.NDArray[np.int64], theirs: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:  # fmt: skip
    """Return both values of every pair that a sample has."""
    counts = np.bincount(others, minlength=int(rows.max()) + 1)
    starts = counts.cumsum() - counts
    many = counts[rows]
    inside = np.arange(many.sum()) - np.repeat(many.cumsum() - many, many)
    return np.repeat(values, many), theirs[np.repeat(starts[rows], many) + inside]
