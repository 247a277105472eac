"""Attacked rows of a table, in its own units, as a table again."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from withstand.core.batch import Batch
from withstand.core.files import printable, replacing
from withstand.core.roles import Attacked, Source
from withstand.data.beside.keys import in_file


def attacked_rows(source: Source, attacked: Attacked, batch: Batch) -> dict[str, Sequence[object]] | None:
    """Return attacked samples as columns of a table; None of data without columns.

    Beside the table's columns, in parentheses: each row's place in the table, its name and class as far as they are
    known, whether the attack succeeded, and how large its change is.

    Args:
        source: where the samples are from.
        attacked: what was found.
        batch: the clean samples.
    """
    columns = source.in_units(attacked.x)
    if columns is None:
        return None
    places = in_file(source)[1][batch.index]
    found: dict[str, Sequence[object]] = {"(index)": places.tolist()}
    if source.names:
        found["(name)"] = [source.names[row] for row in batch.index.tolist()]
    if batch.y is not None:
        found["(label)"] = [source.classes[y] if y < len(source.classes) else y for y in batch.y.tolist()]
    return {**found, "(broken)": attacked.success.tolist(), "(norm)": attacked.norm.tolist(), **columns}


def write_rows(columns: Mapping[str, Sequence[object]], path: Path) -> None:
    """Write columns as a CSV file."""
    with replacing(path) as aside, aside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(map(printable, columns))
        writer.writerows(zip(*columns.values(), strict=True))
