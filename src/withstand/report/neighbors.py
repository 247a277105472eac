"""What a finding's table "neighbors" says: of each query, which samples are most alike."""

from dataclasses import dataclass
from itertools import groupby

from withstand.core.findings.finding import Cell, Finding
from withstand.report.tables import Shown, ShownTable


@dataclass(frozen=True)
class Told:
    """What is said of a sample: its name, its place in its data, and its class, where they are known."""

    name: str = ""
    place: str = ""
    label: str = ""

    def __str__(self) -> str:
        called = self.name or self.place
        return f"{called} ({self.label})" if self.label else called


def told(finding: Finding) -> list[list[Told]]:
    """Return what is said of each query and then of its neighbors, nearest first; nothing without such a table."""
    table = finding.tables.get("neighbors")
    if table is None or not {"query", "query label", "rank", "neighbor", "neighbor label"} <= set(table.columns):
        return []
    points = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    groups = (list(group) for _, group in groupby(points, key=lambda point: point["query"]))
    return [[_of(group[0], "query"), *(_of(point, "neighbor") for point in group)] for group in groups]


def in_words(finding: Finding, noun: str) -> ShownTable | None:
    """Return a row a query with its nearest, for samples that are not drawn; None where nothing is told.

    Args:
        finding: the map.
        noun: what a sample is called.
    """
    found = told(finding)
    if not found:
        return None
    rows = tuple((Shown(str(query)), Shown(", ".join(map(str, nearest)))) for query, *nearest in found)
    return ShownTable((noun.capitalize(), "Most alike, the nearest first"), rows, (False, False))


def _of(point: dict[str, Cell], which: str) -> Told:
    name, place, label = point.get(f"{which} name"), point[which], point[f"{which} label"]
    return Told(*("" if value is None else str(value) for value in (name, place, label)))
