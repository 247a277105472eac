"""Tables as the page shows them: every number in words, with its exact value kept beside it."""

import math
from dataclasses import dataclass

from withstand.core.finding import Cell, Finding, Table
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


def context_of(finding: Finding) -> str:
    """Return the words that say what a finding's numbers are about."""
    known = ["accuracy"] if finding.name in ("few-shot", "learning-curve") else []
    return " ".join([*known, *finding.numbers])


def shares(context: str, table: Table, column: str) -> bool:
    """Whether the column holds shares, by its own name or its context."""
    values = numbers(table.column(column))
    integers = all(isinstance(value, int) for value in values)
    return column != table.x and not integers and wording.is_share(column, values, context)


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
    words = wording.eps(value) if column.startswith("eps") else wording.plain(value)
    if around is not None and math.isfinite(around):
        words += f" ± {wording.plain(around)}"
    return Shown(words, float(value))


def show(context: str, table: Table) -> ShownTable:
    """Return a table for the page; columns "NAME ±" move into the cells of NAME, k/255 into those of eps."""
    share = {column: shares(context, table, column) for column in table.columns}
    merged = {name + SPREAD for name in table.columns} | ({"k/255"} if "eps" in table.columns else set())
    kept = [name for name in table.columns if name not in merged]
    rows = []
    for row in table.rows:
        values = dict(zip(table.columns, row, strict=True))
        rows.append(
            tuple(
                cell(column, values[column], share=share[column], spread=values.get(column + SPREAD)) for column in kept
            )
        )
    return ShownTable(
        tuple(wording.title(column) for column in kept),
        tuple(rows),
        tuple(is_numeric(table, column) for column in kept),
    )
