"""What a radius is of each column: in its units, and beside its spread."""

from withstand.core.findings.finding import Cell, Table
from withstand.data.tables.schema import Coded, Column, Schema

_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def radii_of_columns(schema: Schema, coded: Coded, eps: float, immutable: tuple[str, ...] = ()) -> Table:
    """Return what a Linf radius is of each numeric column.

    Args:
        schema: the columns.
        coded: rows, whose standard deviations are the spreads.
        eps: the radius, as a share of each column's range.
        immutable: columns that nobody can change.
    """
    rows: list[tuple[Cell, ...]] = []
    for place, column in enumerate(schema.numeric):
        known = coded.values[:, place][~coded.missing[:, place]].double()
        spread = float(known.std(correction=0)) if len(known) else 0.0
        change = 0.0 if column.name in immutable else column.within(eps)
        told = change / (column.high - column.low) / spread if spread else None
        rows.append((column.name, _told(column, change), *map(column.shown, (column.low, column.high)), told))
    return Table(
        ("column", "changes by at most", "training from", "to", "of its standard deviation"),
        tuple(rows),
        note="Categories are never changed.",
        units={"of its standard deviation": "share"},
    )


def _told(column: Column, change: float) -> str:
    """Return a change of a column's numbers with its sign; of dates as a span of time."""
    if column.dated:
        size, unit = next(((size, unit) for size, unit in _UNITS if change >= size), _UNITS[-1])
        return f"{change / size:.3g} {unit}"
    sign = "" if column.written is None else column.written.sign
    return f"{change:.3g} {sign}".rstrip()
