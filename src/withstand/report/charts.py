"""Charts as plotly figures in plain JSON; colors, fonts and sizes are the page's, see `templates/charts.js`."""

import html
import math
import re
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TypeGuard

from withstand.core.findings.finding import HIGH, LOW, SPREAD, Cell, Interval, Table
from withstand.core.part import Tree
from withstand.report import wording
from withstand.report.folder import Row
from withstand.report.tables import OF_255, SHARE, ShownTable, is_around, is_numeric, numbers, show

MOST_LINES = 4
"""Lines that a chart shows at first; more are drawn when they are chosen below it."""

COLORS = 10
"""Colors of the page; where there are more subjects, the next ten have them again, and are drawn otherwise."""

_MOST_POINTS = 400
_EACH_STEP = 6
"""So few steps have a tick each; plotly would put some between them."""
_DASHES = ("solid", "dash", "dashdot", "longdash")


@dataclass(frozen=True)
class Key:
    """What stands for one line, or one kind of points, below a chart.

    Attributes:
        name: what it is called.
        color: the place of its color, from 0; None for the gray of controls.
        mark: how it is drawn: one of plotly's dashes, "solid" or "dot" among them, or a sign such as "●".
        shown: whether it is drawn before anyone chooses it.
    """

    name: str
    color: int | None
    mark: str = "solid"
    shown: bool = True


@dataclass(frozen=True)
class Chart:
    """A figure with its heading, a text for those who cannot see it, a note below, and the numbers behind it.

    Attributes:
        title: what is drawn.
        figure: plotly's data and layout.
        alt: what is seen, in words.
        note: how to read it.
        table: the numbers behind it.
        keys: one for each trace; empty where there is a single one.
        data: the name of the data that it is about.
        height: in CSS pixels; None leaves it to the page.
        aspect: height by width of what is drawn, where only that matters, as of a map.
    """

    title: str
    figure: dict[str, Tree]
    alt: str
    note: str = ""
    table: ShownTable | None = None
    keys: tuple[Key, ...] = ()
    data: str = ""
    height: int | None = None
    aspect: float | None = None


def dash(place: int) -> str:
    """Return how the line of a subject's place is drawn: solid for the first ten, whose colors differ."""
    return _DASHES[place // COLORS % len(_DASHES)]


def safe(label: str) -> str:
    """Return a label that plotly shows as it is: plotly reads a subset of HTML in texts."""
    return html.escape(label, quote=False)


def clean(values: list[Cell] | list[float]) -> list[Tree]:
    """Return values with None for what JSON has no number for; lines break there."""
    return [None if isinstance(value, float) and not math.isfinite(value) else value for value in values]


def curves(name: str, table: Table, data: str = "") -> list[Chart]:
    """Return the charts of a table with `x`: its shares together, other columns with their own controls.

    Args:
        name: what the table is called.
        table: columns of curves over `x`.
        data: the name of the data that it is about.
    """
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
        title = f"{wording.title(subject or group[0])} · {heading}" if len(groups) > 1 else heading
        charts.append(replace(_curve(title, table, group, percent=not subject), data=data))
    first = replace(charts[0], table=show(table), note=table.note) if charts else None
    return [first, *charts[1:]] if first is not None else []


def overlay(title: str, table: Table, places: dict[str, int], *, percent: bool) -> Chart:
    """Return one chart of a table with `x`, a line for each other column, called as the column is.

    Args:
        title: of the chart.
        table: `x` and a column a line.
        places: of the columns' colors, so that one has the same in every chart.
        percent: whether these are shares.
    """
    lines = [column for column in table.columns if column != table.x]
    chart = _curve(title, table, lines, percent=percent)
    data = chart.figure["data"]
    assert isinstance(data, list)  # as `_curve` made it; the type of JSON says no more
    keys = []
    for trace, key, name in zip(data, chart.keys, lines, strict=True):
        assert isinstance(trace, dict)  # likewise
        place = places[name]
        trace |= {"name": safe(name), "meta": place, "line": {"dash": dash(place)}, "connectgaps": True}
        keys.append(replace(key, name=name, color=place, mark=dash(place)))
    return replace(chart, table=show(table), keys=tuple(keys))


def _curve(heading: str, table: Table, lines: list[str], *, percent: bool) -> Chart:
    x_name = table.x or ""
    x = numbers(table.column(x_name))
    in_255 = table.units.get(x_name) == OF_255
    positions = [value * 255 for value in x] if in_255 else x
    spelled: list[Tree] = [wording.eps(value) if in_255 else wording.plain(value) for value in x]
    names = f"{x_name} name"
    if names in table.columns:
        spelled = [safe(label) for label in wording.distinct([str(name) for name in table.column(names)])]
    subjects = [column for column in lines if column not in table.controls]
    first = _drawn_first(lines, table)
    traces: list[Tree] = []
    keys = []
    for column in lines:
        control, subject = column in table.controls, table.controls.get(column, column)
        gray = control and (len(subjects) == 1 or subject not in subjects)
        # The page gives each subject its color; a control has its subject's, or gray beside a single one.
        color = None if gray else subjects.index(subject)
        mark = "dot" if control else dash(color or 0)
        keys.append(Key(wording.title(column), color, mark, column in first))
        trace: dict[str, Tree] = {
            "type": "scatter",
            "mode": "lines+markers" if len(x) <= 40 else "lines",
            "name": safe(wording.title(column)),
            "x": clean(positions),
            "y": clean(list(table.column(column))),
            "customdata": spelled,
            "hovertemplate": f"%{{y{':.1%' if percent else ''}}} at %{{customdata}}",
            "line": {"dash": mark},
            "meta": color,
        }
        if column not in first:
            trace["visible"] = False
        bars = _bars(table, column, percent=percent)
        if bars:
            trace["error_y"] = {**bars, "thickness": 1.2, "width": 3}
        traces.append(trace)
    axis: dict[str, Tree] = {"title": {"text": safe(_axis(table, x_name, heading))}}
    if 2 < len(x) <= 12 and min(x) > 0 and max(x) / min(x) >= 10:
        axis |= {"type": "log", "tickvals": clean(positions), "ticktext": [*wording.distinct_numbers(x)]}
    if names in table.columns:
        axis |= {"tickvals": clean(positions), "ticktext": spelled}
    layout: dict[str, Tree] = {
        "xaxis": axis,
        "yaxis": {"tickformat": ".0%", "rangemode": "tozero"} if percent else {},
    }
    named = ", ".join(wording.title(column) for column in lines)
    alt = f"Curves over {wording.title(x_name)}: {named}. The numbers are in the table."
    return Chart(heading, {"data": traces, "layout": layout}, alt, keys=tuple(keys) if len(keys) > 1 else ())


def _axis(table: Table, name: str, heading: str) -> str:
    """Return what an axis is called, with its unit, and which norm's radius it is where the heading names one."""
    unit = table.units.get(name, "")
    norm = re.search(r"\bL(inf|0|1|2)\b", heading)
    called = f"{norm[0]} radius (eps)" if name == "eps" and norm else wording.title(name)
    if unit == OF_255:
        return f"{called}, in steps of 1/255"
    if unit == "radius":
        return f"{called}, in input units"
    return called if unit in ("", "count", SHARE) or unit in name else f"{called}, in {unit}"


def _drawn_first(lines: list[str], table: Table) -> set[str]:
    """Return the lines that are drawn at first: four at most, each subject together with its controls."""
    chosen: list[str] = []
    for subject in [line for line in lines if line not in table.controls]:
        beside = [line for line in lines if line != subject and table.controls.get(line) == subject]
        if chosen and len(chosen) + 1 + len(beside) > MOST_LINES:
            break
        chosen += [subject, *beside]
    return set(chosen[:MOST_LINES] or lines[:MOST_LINES]) if len(lines) > MOST_LINES else set(lines)


def _bars(table: Table, column: str, *, percent: bool) -> dict[str, Tree]:
    """Return a column's error bars: to the ends of its intervals, or as wide as its spreads, but never past 100 %."""
    values = table.column(column)
    if {column + LOW, column + HIGH} <= set(table.columns):
        ends: list[tuple[Cell, Cell]] = list(zip(table.column(column + LOW), table.column(column + HIGH), strict=True))
    elif column + SPREAD in table.columns and not percent:
        return {"array": clean(list(table.column(column + SPREAD)))}
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
    x, y, size = thinned(rows, name)
    if not x:
        return None
    if size > 1:
        note = f"{note} Each point is the mean of {size} logged steps.".strip()
    trace: dict[str, Tree] = {
        "type": "scatter",
        "mode": "lines" if len(x) > 1 else "markers",
        "x": clean(x),
        "y": clean(y),
        "hovertemplate": "%{y:.4g} at step %{x:,}",
        "name": safe(title),
    }
    axis: dict[str, Tree] = {"title": {"text": "step"}}
    if len(x) <= _EACH_STEP:
        axis["tickvals"] = clean(x)
    layout: dict[str, Tree] = {
        "xaxis": axis,
        "yaxis": {"rangemode": "tozero"} if from_zero else {},
    }
    logged = [row[name] for row in rows if name in row]
    alt = f"{title} over steps: from {wording.plain(logged[0])} at the start to {wording.plain(logged[-1])} at the end."
    return Chart(title, {"data": [trace], "layout": layout}, alt, note)


def thinned(rows: tuple[Row, ...], name: str, by: str = "step") -> tuple[list[float], list[float], int]:
    """Return a logged scalar's places and values, at most 400 means of neighbouring rows, and how many each is of."""
    points = [(row[by], row[name]) for row in rows if name in row and by in row]
    size = math.ceil(len(points) / _MOST_POINTS) or 1
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [group[-1][0] for group in groups], [fmean(value for _, value in group) for group in groups], size
