"""Any finding, ready for the page; nothing here knows what it is called."""

import re
from dataclasses import dataclass

from withstand.core.finding import Check, Finding
from withstand.core.part import Tree
from withstand.report import wording
from withstand.report.charts import Chart, curves
from withstand.report.pictures import PictureBlock, blocks
from withstand.report.tables import Shown, ShownTable, around, cell, context_of, is_around, show


@dataclass(frozen=True)
class Figure:
    """A headline figure, and the untrained control's, where it is stored."""

    name: str
    shown: Shown
    control: Shown | None


@dataclass(frozen=True)
class FindingView:
    """A finding, ready to be shown."""

    name: str
    title: str
    about: str
    numbers: tuple[Figure, ...]
    charts: tuple[Chart, ...]
    tables: tuple[tuple[str, ShownTable], ...]
    blocks: tuple[PictureBlock, ...]
    checks: tuple[Check, ...]
    protocol: dict[str, Tree]


def view(finding: Finding, *, without: tuple[str, ...] = ()) -> FindingView:
    """Return any finding for the page: tables with `x` become charts, all else is shown as it is.

    Args:
        finding: what was found.
        without: tables that the page shows elsewhere.
    """
    context = context_of(finding)
    shown = blocks(finding)
    if any(row.notes for block in shown for row in block.rows):
        strips = (f"pictures, {name}" for name in finding.pictures)
        without = (*without, "pictures", *strips)
    charts: list[Chart] = []
    tables: list[tuple[str, ShownTable]] = []
    for name, table in finding.tables.items():
        if name in without:
            continue
        drawn = curves(name, table, context) if table.x is not None else []
        charts += drawn
        if not drawn:
            tables.append((wording.title(name), show(f"{context} {name}", table)))
    return FindingView(
        name=finding.name,
        title=wording.title(finding.name),
        about=finding.about,
        numbers=tuple(_figures(finding)),
        charts=tuple(charts),
        tables=tuple(tables),
        blocks=shown,
        checks=finding.checks,
        protocol=finding.protocol,
    )


def _figures(finding: Finding) -> list[Figure]:
    """Return the headline figures; spreads and controls stand beside what they belong to."""
    stored, context = finding.numbers, context_of(finding)

    def shown(key: str) -> Shown:
        return cell(key, stored[key], share=wording.is_share(key, [stored[key]], context), around=around(key, stored))

    # "NAME, untrained control, WHERE" is the control of "NAME, WHERE"
    controls = {base: key for key in stored if (base := re.sub(r", untrained[^,]*", "", key)) != key and base in stored}
    return [
        Figure(wording.title(key), shown(key), shown(control) if (control := controls.get(key)) else None)
        for key in stored
        if key not in controls.values() and not is_around(key, stored)
    ]
