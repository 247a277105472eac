"""Tables as the page shows them: every number in words, with its exact value kept beside it."""

import math
from dataclasses import dataclass

from withstand.core.finding import Cell, Table
from withstand.report import wording

SPREAD = " ±"


@dataclass(frozen=True)
class Shown:
    """One cell: its text, and the exact number behind it, where it is a number."""

    text: str
    value: float | None = None


@dataclass(frozen=True)
class ShownTable:
    """Headings, rows, and which columns are numeric."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Shown, ...], ...]
    numeric: tuple[bool, ...]


def numbers(values: tuple[Cell, ...]) -> list[float]:
    """Return the numbers among the cells."""
    return [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]


def is_numeric(table: Table, column: str) -> bool:
    """Whether every cell of the column is a number or empty, and one is a number."""
    cells = table.column(column)
    given = numbers(cells)
    return bool(given) and all(cell is None for cell in cells if cell not in given or isinstance(cell, bool))


def shares(context: str, table: Table, column: str) -> bool:
    """Whether the column holds shares, by its own name or the table's."""
    integers = all(isinstance(cell, int) for cell in table.column(column))
    own = column.removesuffix(SPREAD)
    return column != table.x and not integers and wording.is_share(f"{context} {own}", numbers(table.column(column)))


def cell(column: str, value: Cell, *, share: bool = False, spread: Cell = None) -> Shown:
    """Return one value in words, its spread behind it."""
    if value is None:
        return Shown("–")
    if isinstance(value, bool):
        return Shown("yes" if value else "no")
    if isinstance(value, str):
        return Shown(value)
    around = float(spread) if isinstance(spread, int | float) else None
    if share:
        return Shown(wording.percent(value, around), float(value))
    words = wording.eps(value) if column == "eps" else wording.plain(value)
    if around is not None and math.isfinite(around):
        words += f" ± {wording.plain(around)}"
    return Shown(words, float(value))


def show(name: str, table: Table) -> ShownTable:
    """Return a table for the page; columns "NAME ±" move into the cells of NAME."""
    spreads = {column for column in table.columns if column.endswith(SPREAD)}
    kept = [
        column for column in table.columns if column.removesuffix(SPREAD) not in table.columns or column not in spreads
    ]
    rows = []
    for row in table.rows:
        values = dict(zip(table.columns, row, strict=True))
        rows.append(
            tuple(
                cell(column, values[column], share=shares(name, table, column), spread=values.get(column + SPREAD))
                for column in kept
            )
        )
    return ShownTable(
        tuple(wording.title(column) for column in kept),
        tuple(rows),
        tuple(is_numeric(table, column) for column in kept),
    )
