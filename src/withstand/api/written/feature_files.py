"""Features in a file, beside what each sample is called: arrays for NumPy, a table for anything else."""

from pathlib import Path
from typing import Any

import numpy as np

from withstand.core.errors import DataError, MissingExtra
from withstand.core.files import printable, replacing
from withstand.evaluation.features import Features

SUFFIXES = (".npz", ".parquet")
"""How files of features may end."""


def check_suffix(path: Path) -> None:
    """Refuse a file that would be of no known kind, before anything is embedded.

    Raises:
        DataError: another ending.
        MissingExtra: Parquet without pyarrow.
    """
    if path.suffix not in SUFFIXES:
        raise DataError(f"--out must name an {' or '.join(SUFFIXES)} file, not {str(path)!r}")
    if path.suffix == ".parquet":
        _arrow()


def write_features(features: Features, path: str | Path) -> None:
    """Write features: `.npz` with arrays, or `.parquet` with a row a sample.

    The arrays are `x` `(N, D)` float32, `index` `(N,)`, and as far as known `y` (-1 for none) with `classes`, `names`
    and `parts`. The columns are `name`, `part` and `label` (words, null for none) as far as known, `index`, and
    `features`, a list of D float32 numbers.

    Raises:
        DataError: another ending.
        MissingExtra: Parquet without pyarrow.
    """
    path = Path(path)
    check_suffix(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as aside:
        if path.suffix == ".npz":
            with aside.open("wb") as file:
                np.savez(file, **_arrays(features))
        else:
            _write_parquet(features, aside)


def _arrays(features: Features) -> dict[str, Any]:
    arrays: dict[str, Any] = {"x": features.x.numpy(), "index": features.index.numpy()}
    if features.y is not None:
        arrays["y"] = features.y.numpy()
    words = {"classes": features.classes, "names": features.names, "parts": features.parts}
    return arrays | {name: np.array([printable(word) for word in some]) for name, some in words.items() if some}


def _write_parquet(features: Features, path: Path) -> None:
    arrow, parquet = _arrow()
    labels = [printable(word) or None for word in features.label_words()]
    words = {"name": features.names, "part": features.parts, "label": labels if features.y is not None else ()}
    columns: dict[str, Any] = {
        name: arrow.array([None if word is None else printable(word) for word in some], arrow.string())
        for name, some in words.items()
        if some
    }
    columns["index"] = arrow.array(features.index.numpy())
    flat = arrow.array(features.x.contiguous().view(-1).numpy())
    columns["features"] = arrow.FixedSizeListArray.from_arrays(flat, features.width)
    parquet.write_table(arrow.table(columns), path)


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtra("writing Parquet", "pyarrow", "table") from error
    return pyarrow, parquet
