"""Well-known tables by name: compact files under $WITHSTAND_DATA, and what scikit-learn bundles."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from withstand.core.errors import DataError
from withstand.data.pictures.named import VARIABLE
from withstand.data.tables.files import read_file
from withstand.data.tables.frame import Frame, frame_of


@dataclass(frozen=True)
class _Stored:
    """A set in a compact file: where, what it predicts, and the column that names each row's part, if any."""

    file: str
    target: str
    split: str | None = None


_STORED = {
    "adult": _Stored("adult.parquet", "income", "split"),
    "california": _Stored("california_housing_geron.parquet", "median_house_value"),
}
_BUNDLED = {
    "breast-cancer": "load_breast_cancer",
    "diabetes": "load_diabetes",
    "digits-table": "load_digits",
    "iris": "load_iris",
    "wine": "load_wine",
}
TABLES: tuple[str, ...] = (*_STORED, *_BUNDLED)
"""Names of tables."""


@dataclass(frozen=True)
class Known:
    """A named table.

    Attributes:
        frame: its columns.
        target: what it predicts.
        split: the column that says "train" or "test" of each row, or None.
        origin: where it was found, in words.
    """

    frame: Frame
    target: str
    split: str | None
    origin: str


def named_table(name: str) -> Known:
    """Return a named table.

    | name | rows | predicts |
    |---|---|---|
    | `adult` | 32,561 + 16,281 | income, two classes |
    | `california` | 20,640 | median_house_value, a number |
    | `breast-cancer`, `digits-table`, `iris`, `wine` | bundled with scikit-learn | the class |
    | `diabetes` | bundled with scikit-learn | a number |

    Raises:
        DataError: the file is not on this machine.
    """
    if name in _BUNDLED:
        from sklearn import datasets

        bunch = getattr(datasets, _BUNDLED[name])()
        columns: dict[str, object] = dict(zip(map(str, bunch.feature_names), bunch.data.T, strict=True))
        named = getattr(bunch, "target_names", None)
        columns["target"] = bunch.target if named is None else np.array(list(map(str, named)))[bunch.target]
        return Known(frame_of(columns), "target", None, f"scikit-learn's bundled {name}")
    stored = _STORED[name]
    base = os.environ.get(VARIABLE)
    path = Path(base or "") / "tabular" / stored.file
    if not base or not path.is_file():
        raise DataError(f"{name} is not on this machine: set {VARIABLE} to a folder with tabular/{stored.file}")
    return Known(read_file(path)[0], stored.target, stored.split, f"{VARIABLE}: tabular/{stored.file}")
