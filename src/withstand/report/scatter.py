"""Charts of points: the map of codes, and every probe beside its control."""

import math
from statistics import median
from typing import TypeAlias

from withstand.core.findings.finding import Measure, Table
from withstand.core.findings.measure import UNTRAINED
from withstand.core.part import Tree
from withstand.report import wording
from withstand.report.charts import COLORS, Chart, Key, clean, safe
from withstand.report.scores import Score, ends_of
from withstand.report.tables import numbers

_MOST_CLASSES = 20
_SIGNS = {"circle": "●", "diamond": "◆", "square": "■", "triangle-up": "▲", "cross": "✚"}
_LABEL = (0.16, 0.05)
"""About what of a map's width and height a label takes."""
Span: TypeAlias = tuple[float, float]
_ASPECTS = (0.5, 1.1)
"""The flattest and the tallest frame of a map, height by width; beyond them it is stretched."""


def embedding_map(table: Table, data: str = "") -> Chart:
    """Return the map of embeddings from the columns x, y, and label, index and name where there are such."""
    points = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    labels = list(dict.fromkeys("" if point.get("label") is None else str(point["label"]) for point in points))
    labels.sort(key=lambda label: (len(label), label) if label.isdigit() else (0, label))
    known = 1 < len(labels) <= _MOST_CLASSES
    traces: list[Tree] = []
    names: list[tuple[float, float, str]] = []
    keys = []
    for place, label in enumerate(labels):
        own = [point for point in points if ("" if point.get("label") is None else str(point["label"])) == label]
        x, y = (numbers(tuple(point[axis] for point in own)) for axis in ("x", "y"))
        symbol = list(_SIGNS)[place // COLORS % len(_SIGNS)]
        called = [point.get("name") or f"number {point.get('index')}" for point in own]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": safe(label) or "sample",
                "x": clean([round(value, 4) for value in x]),
                "y": clean([round(value, 4) for value in y]),
                "customdata": [safe(str(name)) for name in called],
                "marker": {"size": 5, "opacity": 0.85, "symbol": symbol},
                "hovertemplate": "%{fullData.name} · %{customdata}<extra></extra>",
                "meta": place if known else 0,
            }
        )
        keys.append(Key(label or "without a label", place, _SIGNS[symbol]))
        if label and x:
            names.append((median(x), median(y), label))
    axes = {axis: _span(numbers(tuple(point[axis] for point in points))) for axis in ("x", "y")}
    (left, right), (low, high) = axes.values()
    layout: dict[str, Tree] = {
        "xaxis": {"visible": False, "range": [left, right]},
        "yaxis": {"visible": False, "range": [low, high]},
        "annotations": [
            {"x": x, "y": y, "text": safe(label), "showarrow": False} for x, y, label in _apart(names, axes) if known
        ],
        "hovermode": "closest",
        "margin": {"l": 4, "r": 4, "t": 4, "b": 4},
    }
    alt = f"Scatter of {len(points):,} samples in two dimensions" + (f", in {len(labels)} classes." if known else ".")
    shown = tuple(keys) if known else ()
    aspect = min(max((high - low) / (right - left), _ASPECTS[0]), _ASPECTS[1])
    return Chart("Embedding map", {"data": traces, "layout": layout}, alt, keys=shown, data=data, aspect=aspect)


def _span(values: list[float]) -> Span:
    """Return where an axis starts and ends: a little beyond its values."""
    finite = [value for value in values if math.isfinite(value)] or [0.0]
    room = 0.03 * (max(finite) - min(finite) or 1.0)
    return min(finite) - room, max(finite) + room


def _apart(places: list[tuple[float, float, str]], axes: dict[str, Span]) -> list[tuple[float, float, str]]:
    """Return the labels that do not lie on an earlier one; all of them stand beside the map too."""
    wide, high = (end - start for start, end in axes.values())
    kept: list[tuple[float, float, str]] = []
    for x, y, label in places:
        if all(abs(x - other) > _LABEL[0] * wide or abs(y - beside) > _LABEL[1] * high for other, beside, _ in kept):
            kept.append((x, y, label))
    return kept


def comparison(found: list[Score], data: str = "") -> Chart:
    """Return one dot for each probe and each control, with intervals, probes from top to bottom."""
    called = next((one.control_name for one in found if one.untrained is not None), UNTRAINED)
    against = "untrained encoder" if called == UNTRAINED else f"encoder {called}"
    kinds: tuple[tuple[str, list[Measure | None], dict[str, Tree], int | None, str], ...] = (
        ("this encoder", [one.accuracy for one in found], {"size": 12}, 0, "●"),
        (against, [one.untrained for one in found], {"symbol": "circle-open", "size": 11}, None, "○"),
    )
    names = wording.distinct([wording.title(one.name) for one in found])
    traces: list[Tree] = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": name,
            "x": [one.value if one else None for one in measured],
            "y": [safe(called) for called in names],
            "marker": marker,
            "error_x": _whiskers(measured),
            "meta": color,
            "hovertemplate": "%{x:.1%}",
        }
        for name, measured, marker, color, _ in kinds
    ]
    layout: dict[str, Tree] = {
        "xaxis": {"tickformat": ".0%", "title": {"text": " or ".join(dict.fromkeys(one.what for one in found))}},
        "yaxis": {"autorange": "reversed", "type": "category", "showgrid": True},
        "hovermode": "closest",
    }
    alt = f"Accuracy of each probe on this encoder and on the {against}; the numbers are in the table."
    return Chart(
        "Accuracy by probe",
        {"data": traces, "layout": layout},
        alt,
        keys=tuple(Key(name, color, sign) for name, _, _, color, sign in kinds),
        data=data,
        height=80 + 40 * len(found),
    )


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
