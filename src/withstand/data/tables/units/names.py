"""What rows are called: the values of the column that identifies them."""

import numpy as np

from withstand.data.tables.frame import Frame, missing
from withstand.data.tables.schema import as_words


def names_of_rows(frame: Frame, column: str) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Return each row's name, "" where it has none, and what is to be told of them.

    Args:
        frame: the rows.
        column: whose values identify them.
    """
    values = frame.columns[column]
    words, gone = as_words(values), missing(values)
    held = np.array([*words.names, ""], dtype=object)
    counts = np.bincount(words.codes[words.codes >= 0], minlength=len(words.names))
    shared = int(counts[counts > 1].sum())
    told = [f"{shared:,} row(s) share their name with another"] if shared else []
    told += [f"{int(gone.sum()):,} row(s) have no name"] if gone.any() else []
    return tuple(held[words.codes].tolist()), tuple((column, one) for one in told)
