"""Any finding, ready for the page; nothing here knows what it is called."""

from dataclasses import dataclass

from withstand.core.findings.finding import Check, Finding
from withstand.core.part import Tree
from withstand.report import wording
from withstand.report.charts import Chart, curves
from withstand.report.folder import text
from withstand.report.pictures import PictureBlock, blocks
from withstand.report.tables import Shown, ShownTable, figure, show


@dataclass(frozen=True)
class Figure:
    """A figure, and the control's, where it is stored, with what the control is."""

    name: str
    shown: Shown
    control: Shown | None
    control_name: str


@dataclass(frozen=True)
class FindingView:
    """A finding, ready to be shown."""

    name: str
    title: str
    about: str
    figures: tuple[Figure, ...]
    charts: tuple[Chart, ...]
    tables: tuple[tuple[str, ShownTable], ...]
    blocks: tuple[PictureBlock, ...]
    checks: tuple[Check, ...]
    protocol: dict[str, Tree]


def withstands(finding: Finding) -> bool:
    """Whether a finding tells what is withstood: an audit, a guard, or a curve over eps or severity."""
    curves = {table.x for table in finding.tables.values()}
    return finding.name.startswith(("audit", "detection", "purification")) or not curves.isdisjoint({"eps", "severity"})


def view(finding: Finding, data: str = "", noun: str = "sample", *, without: tuple[str, ...] = ()) -> FindingView:
    """Return any finding for the page: tables with `x` become charts, all else is shown as it is.

    Args:
        finding: what was found.
        data: the name of the run's data; what a finding itself says of its own goes before it.
        noun: what a sample is called.
        without: tables that the page shows elsewhere.
    """
    shown = blocks(finding)
    if any(row.notes for block in shown for row in block.rows):
        strips = (f"pictures, {name}" for name in finding.pictures)
        without = (*without, "pictures", *strips)
    charts: list[Chart] = []
    tables: list[tuple[str, ShownTable]] = []
    for name, table in finding.tables.items():
        if name in without:
            continue
        drawn = curves(name, table, text(finding.protocol, "data", "name") or data) if table.x is not None else []
        charts += drawn
        if not drawn:
            tables.append((wording.title(name), show(table)))
    return FindingView(
        name=finding.name,
        title=wording.title(finding.name),
        about=finding.told_of(noun),
        figures=tuple(
            Figure(
                wording.title(name),
                figure(measure),
                None if measure.control is None else figure(measure.control),
                measure.control_name,
            )
            for name, measure in finding.figures.items()
        ),
        charts=tuple(charts),
        tables=tuple(tables),
        blocks=shown,
        checks=finding.checks,
        protocol=finding.protocol,
    )
