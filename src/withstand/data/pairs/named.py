"""Nine sets for entity resolution, by name: two tables each, and pairs of their records that people judged.

They are the sets of DeepMatcher (Mudgal et al., 2018), as the Ditto repository gives them.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from withstand.core.errors import DataError, MissingExtra
from withstand.data.pairs.texts import TextTable, cleaned, data_folder
from withstand.data.pictures.named import VARIABLE

ENTITY_SETS: dict[str, str] = {
    "beer": "structured_beer",
    "fodors-zagats": "structured_fodors-zagats",
    "itunes-amazon": "structured_itunes-amazon",
    "dblp-acm": "structured_dblp-acm",
    "amazon-google": "structured_amazon-google",
    "walmart-amazon": "structured_walmart-amazon",
    "abt-buy": "textual_abt-buy",
    "dirty-dblp-acm": "dirty_dblp-acm",
    "dirty-walmart-amazon": "dirty_walmart-amazon",
}
"""Sets by name, and their files."""
ANSWERS = {"fodors-zagats": ("class",)}
"""Columns that hold the answer itself, which no record of a user has: equal exactly where two records match."""


@dataclass(frozen=True)
class Known:
    """Pairs that people judged.

    Attributes:
        left: each pair's record in the first table, int64 `(M,)`.
        right: in the second, likewise.
        match: whether they are the same, bool `(M,)`.
        split: "train", "valid" or "test" of each.
    """

    left: npt.NDArray[np.int64]
    right: npt.NDArray[np.int64]
    match: npt.NDArray[np.bool_]
    split: npt.NDArray[np.str_]


def named_pairs(name: str) -> tuple[TextTable, TextTable, Known]:
    """Return a named set: its two tables, without repeated rows, and the pairs that are known.

    Raises:
        DataError: the file is not on this machine.
        MissingExtra: pyarrow is not installed.
    """
    path = data_folder() / "entity_resolution" / f"{ENTITY_SETS[name]}.parquet"
    if not path.is_file():
        raise DataError(f"{name} is not on this machine: set {VARIABLE} to a folder with entity_resolution/{path.name}")
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtra(f"reading {path.name}", "pyarrow", "table") from error
    table = parquet.read_table(path).to_pydict()
    sides, places = [], []
    for side in ("left", "right"):
        names = [column.removeprefix(f"{side}_") for column in table if column.startswith(f"{side}_")]
        columns = {one: cleaned(table[f"{side}_{one}"]) for one in names if one not in ANSWERS.get(name, ())}
        rows = list(zip(*columns.values(), strict=True))
        first = {row: place for place, row in reversed(list(enumerate(rows)))}
        order = {row: place for place, row in enumerate(sorted(first, key=first.__getitem__))}
        chosen = [first[row] for row in order]
        origin = f"{VARIABLE}: entity_resolution/{path.name}"
        sides.append(TextTable({one: texts[chosen] for one, texts in columns.items()}, f"{name} {side}", origin))
        places.append(np.array([order[row] for row in rows], dtype=np.int64))
    known = Known(places[0], places[1], np.array(table["label"]) == 1, np.array(table["split"]))
    return sides[0], sides[1], known
