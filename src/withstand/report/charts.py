"""Charts as plotly figures in plain JSON; colors, fonts and sizes are the page's, see `templates/charts.js`."""

import html
import math
from dataclasses import dataclass, replace
from statistics import fmean, median
from typing import TypeGuard

from withstand.core.findings.finding import HIGH, LOW, SPREAD, Cell, Interval, Measure, Table
from withstand.core.part import Tree
from withstand.report import wording
from withstand.report.folder import Row
from withstand.report.scores import Score, ends_of
from withstand.report.tables import OF_255, SHARE, ShownTable, is_around, is_numeric, numbers, show

_MOST_POINTS = 400
_MOST_CLASSES = 20
_SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross")


@dataclass(frozen=True)
class Chart:
    """A figure with its heading, a text for those who cannot see it, a note below, and the numbers behind it.

    `height` is in CSS pixels; None leaves it to the page.
    """

    title: str
    figure: dict[str, Tree]
    alt: str
    note: str = ""
    table: ShownTable | None = None
    wide: bool = False
    height: int | None = None


def safe(label: str) -> str:
    """Return a label that plotly shows as it is: plotly reads a subset of HTML in texts."""
    return html.escape(label, quote=False)


def _clean(values: list[Cell] | list[float]) -> list[Tree]:
    """Return values with None for what JSON has no number for; lines break there."""
    return [None if isinstance(value, float) and not math.isfinite(value) else value for value in values]


def curves(name: str, table: Table) -> list[Chart]:
    """Return the charts of a table with `x`: its shares together, other columns with their own controls."""
    lines = [
        column
        for column in table.columns
        if column != table.x and not is_around(column, table.columns) and is_numeric(table, column)
    ]
    groups: dict[str, list[str]] = {}
    for column in lines:
        subject = table.controls.get(column) or column
        groups.setdefault("" if table.units.get(column) == SHARE else subject, []).append(column)
    heading = wording.title(name if name != "curve" else f"by {table.x}")
    charts = []
    for subject, group in groups.items():
        title = f"{wording.title(subject)} · {heading}" if subject and len(groups) > 1 else heading
        charts.append(_curve(title, table, group, percent=not subject))
    first = replace(charts[0], table=show(table), note=table.note) if charts else None
    return [first, *charts[1:]] if first is not None else []


def overlay(title: str, table: Table, *, percent: bool) -> Chart:
    """Return one chart of a table with `x`, a line for each other column, called as the column is."""
    lines = [column for column in table.columns if column != table.x]
    chart = _curve(title, table, lines, percent=percent)
    data = chart.figure["data"]
    assert isinstance(data, list)
    for place, (trace, name) in enumerate(zip(data, lines, strict=True)):
        assert isinstance(trace, dict)
        trace |= {"name": safe(name), "meta": place, "line": {"dash": "solid"}, "connectgaps": True}
    return replace(chart, table=show(table))


def _curve(heading: str, table: Table, lines: list[str], *, percent: bool) -> Chart:
    x_name = table.x or ""
    x = numbers(table.column(x_name))
    in_255 = table.units.get(x_name) == OF_255
    positions = [value * 255 for value in x] if in_255 else x
    spelled: list[Tree] = [wording.eps(value) if in_255 else wording.plain(value) for value in x]
    names = f"{x_name} name"
    if names in table.columns:
        spelled = [safe(str(name)) for name in table.column(names)]
    subjects = [column for column in lines if column not in table.controls]
    traces: list[Tree] = []
    for column in lines:
        control, subject = column in table.controls, table.controls.get(column, column)
        gray = control and (len(subjects) == 1 or subject not in subjects)
        trace: dict[str, Tree] = {
            "type": "scatter",
            "mode": "lines+markers" if len(x) <= 40 else "lines",
            "name": safe(wording.title(column)),
            "x": _clean(positions),
            "y": _clean(list(table.column(column))),
            "customdata": spelled,
            "hovertemplate": f"%{{y{':.1%' if percent else ''}}} at %{{customdata}}",
            "line": {"dash": "dot" if control else "solid"},
            # The page gives each subject its color; a control has its subject's, or gray beside a single one.
            "meta": None if gray else subjects.index(subject),
        }
        bars = _bars(table, column, percent=percent)
        if bars:
            trace["error_y"] = {**bars, "thickness": 1.2, "width": 3}
        traces.append(trace)
    label = "eps, in steps of 1/255" if in_255 else safe(wording.title(x_name))
    axis: dict[str, Tree] = {"title": {"text": label}}
    if 2 < len(x) <= 12 and min(x) > 0 and max(x) / min(x) >= 30:
        axis |= {"type": "log", "tickvals": _clean(positions), "ticktext": [wording.plain(value) for value in x]}
    if names in table.columns:
        axis |= {"tickvals": _clean(positions), "ticktext": spelled}
    layout: dict[str, Tree] = {
        "xaxis": axis,
        "yaxis": {"tickformat": ".0%", "rangemode": "tozero"} if percent else {},
        "showlegend": len(lines) > 1,
    }
    named = ", ".join(wording.title(column) for column in lines)
    alt = f"Curves over {wording.title(x_name)}: {named}. The numbers are in the table."
    return Chart(heading, {"data": traces, "layout": layout}, alt)


def _bars(table: Table, column: str, *, percent: bool) -> dict[str, Tree]:
    """Return a column's error bars: to the ends of its intervals, or as wide as its spreads, but never past 100 %."""
    values = table.column(column)
    if {column + LOW, column + HIGH} <= set(table.columns):
        ends: list[tuple[Cell, Cell]] = list(zip(table.column(column + LOW), table.column(column + HIGH), strict=True))
    elif column + SPREAD in table.columns and not percent:
        return {"array": _clean(list(table.column(column + SPREAD)))}
    elif column + SPREAD in table.columns:
        spreads = zip(values, table.column(column + SPREAD), strict=True)
        ends = [_within(value, spread) if _real(value) and _real(spread) else (None, None) for value, spread in spreads]
    else:
        return {}
    below: list[Tree] = []
    above: list[Tree] = []
    for value, (low, high) in zip(values, ends, strict=True):
        below.append(value - low if _real(value) and _real(low) else None)
        above.append(high - value if _real(value) and _real(high) else None)
    return {"symmetric": False, "array": above, "arrayminus": below}


def _within(share: float, spread: float) -> Interval:
    """Return the ends of a share's spread, cut where no share, and no difference of shares, can be."""
    return max(share - spread, 0.0 if share >= 0 else -1.0), min(share + spread, 1.0)


def _real(value: Cell) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def metric(rows: tuple[Row, ...], name: str, title: str, note: str = "", *, from_zero: bool = False) -> Chart | None:
    """Return a logged scalar over steps, thinned to at most 400 means of neighbouring steps; None if never logged."""
    points = [(row["step"], row[name]) for row in rows if name in row]
    if not points:
        return None
    size = math.ceil(len(points) / _MOST_POINTS)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    x = [group[-1][0] for group in groups]
    y = [fmean(value for _, value in group) for group in groups]
    if size > 1:
        note = f"{note} Each point is the mean of {size} logged steps.".strip()
    trace: dict[str, Tree] = {
        "type": "scatter",
        "mode": "lines" if len(x) > 1 else "markers",
        "x": _clean(x),
        "y": _clean(y),
        "hovertemplate": "%{y:.4g} at step %{x:,}",
        "name": safe(title),
    }
    layout: dict[str, Tree] = {
        "xaxis": {"title": {"text": "step"}},
        "yaxis": {"rangemode": "tozero"} if from_zero else {},
        "showlegend": False,
    }
    first, last = points[0][1], points[-1][1]
    alt = f"{title} over steps: from {wording.plain(first)} at the start to {wording.plain(last)} at the end."
    return Chart(title, {"data": [trace], "layout": layout}, alt, note)


def embedding_map(table: Table) -> Chart:
    """Return the map of embeddings from the columns x, y, and label and index where there are such."""
    points = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    labels: list[str] = []
    for point in points:
        label = "" if point.get("label") is None else str(point["label"])
        if label not in labels:
            labels.append(label)
    labels.sort(key=lambda label: (len(label), label) if label.isdigit() else (0, label))
    traces: list[Tree] = []
    names: list[Tree] = []
    for place, label in enumerate(labels):
        own = [point for point in points if ("" if point.get("label") is None else str(point["label"])) == label]
        x, y = (numbers(tuple(point[axis] for point in own)) for axis in ("x", "y"))
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": safe(label) or "sample",
                "x": _clean([round(value, 4) for value in x]),
                "y": _clean([round(value, 4) for value in y]),
                "customdata": [point.get("index") for point in own],
                "marker": {"size": 5, "opacity": 0.75, "symbol": _SYMBOLS[place // 10 % len(_SYMBOLS)]},
                "hovertemplate": "%{fullData.name} · number %{customdata}<extra></extra>",
            }
        )
        if label and x:
            names.append({"x": median(x), "y": median(y), "text": safe(label), "showarrow": False})
    known = 1 < len(labels) <= _MOST_CLASSES
    bare: dict[str, Tree] = {"visible": False}
    layout: dict[str, Tree] = {
        "xaxis": bare,
        "yaxis": {**bare, "scaleanchor": "x"},
        "annotations": names if known else [],
        "showlegend": known,
        "hovermode": "closest",
    }
    alt = f"Scatter of {len(points):,} samples in two dimensions" + (f", in {len(labels)} classes." if known else ".")
    return Chart("Embedding map", {"data": traces, "layout": layout}, alt, wide=True)


def comparison(found: list[Score]) -> Chart:
    """Return one dot for each probe and each control, with intervals, probes from top to bottom."""
    kinds: tuple[tuple[str, list[Measure | None], dict[str, Tree]], ...] = (
        ("this encoder", [one.accuracy for one in found], {"size": 12}),
        (
            "untrained encoder",
            [one.untrained for one in found],
            {"symbol": "circle-open", "size": 11},
        ),
    )
    traces: list[Tree] = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": name,
            "x": [one.value if one else None for one in measured],
            "y": [safe(wording.title(one.name)) for one in found],
            "marker": marker,
            "error_x": _whiskers(measured),
            "meta": color,
            "hovertemplate": "%{x:.1%}",
        }
        for color, (name, measured, marker) in zip((0, None), kinds, strict=True)
    ]
    layout: dict[str, Tree] = {
        "xaxis": {"tickformat": ".0%", "title": {"text": "accuracy"}},
        "yaxis": {"autorange": "reversed", "type": "category", "showgrid": True},
        "showlegend": True,
        "hovermode": "closest",
    }
    alt = "Accuracy of each probe on this encoder and on the untrained one; the numbers are in the table."
    return Chart("Accuracy by probe", {"data": traces, "layout": layout}, alt, height=110 + 40 * len(found))


def _whiskers(measured: list[Measure | None]) -> dict[str, Tree]:
    """Return error bars from the values to the ends of their intervals, or as wide as their spreads."""
    ends = [(one.value, *around) if one and (around := ends_of(one)) else None for one in measured]
    return {
        "symmetric": False,
        "array": [end[2] - end[0] if end else None for end in ends],
        "arrayminus": [end[0] - end[1] if end else None for end in ends],
        "thickness": 1.5,
        "width": 5,
    }
