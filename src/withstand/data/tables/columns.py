"""Columns in memory, as small as holds each of their values."""

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from withstand.data.tables.frame import Values


class Columns(MutableMapping[str, "Values"]):
    """A table's columns by name: numbers are kept in the smallest float that holds each of them, and come out float64.

    Args:
        columns: to begin with.
    """

    def __init__(self, columns: "Mapping[str, Values] | None" = None) -> None:
        self._held: dict[str, Values] = {}
        self.update(columns or {})

    def __setitem__(self, name: str, values: "Values") -> None:
        self._held[name] = packed(values) if isinstance(values, np.ndarray) else values

    def __getitem__(self, name: str) -> "Values":
        found = self._held[name]
        return found.astype(np.float64) if isinstance(found, np.ndarray) else found

    def __delitem__(self, name: str) -> None:
        del self._held[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)

    def only(self, names: Iterable[str]) -> "Columns":
        """Return some of the columns; nothing is copied."""
        found = Columns()
        found._held = {name: self._held[name] for name in names}
        return found

    @property
    def lengths(self) -> dict[str, int]:
        """How many rows each column has."""
        return {name: len(values) for name, values in self._held.items()}


class Chosen(Mapping[str, "Values"]):
    """Some rows of columns, taken when a column is asked for.

    Args:
        columns: of all rows.
        rows: those that are meant, by mask or places.
    """

    def __init__(self, columns: "Mapping[str, Values]", rows: npt.NDArray[Any]) -> None:
        self._columns, self._rows = columns, rows

    def __getitem__(self, name: str) -> "Values":
        return self._columns[name][self._rows]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)


def packed(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return numbers in the smallest float that holds each of them, NaN and the sign of zero too."""
    with np.errstate(over="ignore"):
        for kind in (np.float16, np.float32):
            # Most columns that do not fit show it soon.
            if not _holds(values[:1024], kind):
                continue
            found = values.astype(kind)
            if _same(found, values):
                return found
    return values.astype(np.float64, copy=False)


def _holds(values: npt.NDArray[Any], kind: type[np.floating[Any]]) -> bool:
    return _same(values.astype(kind), values)


def _same(found: npt.NDArray[Any], values: npt.NDArray[Any]) -> bool:
    step = 1 << 16
    return all(
        np.array_equal(found[first : first + step], values[first : first + step], equal_nan=True)
        for first in range(0, len(values), step)
    )
