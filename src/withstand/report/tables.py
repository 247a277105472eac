"""Tables as the page shows them: every number in words, with its exact value kept beside it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from withstand.core.findings.finding import HIGH, LOW, SPREAD, Cell, Measure, Table
from withstand.report import wording

_NARROW = 24
"""Letters of a cell that may stay in sight on a telephone, with room for others beside it."""
_OF_BALLS = ("ball", "norm", "broken at eps", "eps", "radius")
"""Columns whose words are norms and radii."""

SHARE, OF_255 = "share", "k/255"
"""The units that are shown in a form of their own: in percent, and as 8/255."""


@dataclass(frozen=True)
class Shown:
    """One cell: its text, and the exact number behind it, where it is a number."""

    text: str
    value: float | None = None


@dataclass(frozen=True)
class ShownTable:
    """Headings, rows, which columns are numeric, and how to read them."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Shown, ...], ...]
    numeric: tuple[bool, ...]
    note: str = ""

    @property
    def keeps(self) -> bool:
        """Whether the last column is narrow enough to stay in sight where the table scrolls."""
        return all(len(row[-1].text) <= _NARROW for row in self.rows)


def numbers(values: tuple[Cell, ...]) -> list[float]:
    """Return the numbers among the cells."""
    return [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]


def is_numeric(table: Table, column: str) -> bool:
    """Whether every cell of the column is a number or empty, and one is a number."""
    cells = table.column(column)
    given = numbers(cells)
    return bool(given) and all(cell is None for cell in cells if cell not in given or isinstance(cell, bool))


def is_around(name: str, stored: Iterable[str]) -> bool:
    """Whether a column holds spreads, or ends of intervals, of another one that is there too."""
    return any(name.endswith(end) and name.removesuffix(end) in stored for end in (SPREAD, LOW, HIGH))


def around(name: str, stored: Mapping[str, Cell]) -> wording.Around:
    """Return what is stored of how far off a number may be."""
    low, high, spread = (stored.get(name + end) for end in (LOW, HIGH, SPREAD))
    if isinstance(low, int | float) and isinstance(high, int | float):
        return float(low), float(high)
    return float(spread) if isinstance(spread, int | float) else None


def figure(measure: Measure) -> Shown:
    """Return a measure in words, and behind it how far off it may be."""
    around = measure.spread if measure.interval is None else measure.interval
    return cell(measure.value, measure.unit, around=around)


def cell(value: Cell, unit: str = "", *, around: wording.Around = None, column: str = "") -> Shown:
    """Return one value in words, and behind it how far off it may be; words in a column of balls are norms, radii."""
    if value is None:
        return Shown("–")
    if isinstance(value, bool):
        return Shown("yes" if value else "no")
    if isinstance(value, str):
        return Shown(wording.ball(value) if column in _OF_BALLS else value)
    if unit == SHARE:
        return Shown(wording.percent(value, around), float(value))
    return Shown(wording.eps(value) if unit == OF_255 else wording.measured(value, around), float(value))


def show(table: Table) -> ShownTable:
    """Return a table for the page; spreads and intervals of NAME move into its cells, k/255 into those of radii."""
    merged = {OF_255} if OF_255 in table.units.values() else set()
    kept = [name for name in table.columns if name not in merged and not is_around(name, table.columns)]
    rows = []
    for row in table.rows:
        values = dict(zip(table.columns, row, strict=True))
        rows.append(
            tuple(
                cell(values[column], table.units.get(column, ""), around=around(column, values), column=column)
                for column in kept
            )
        )
    return ShownTable(
        tuple(wording.title(column) for column in kept),
        tuple(rows),
        tuple(is_numeric(table, column) for column in kept),
        table.note,
    )
