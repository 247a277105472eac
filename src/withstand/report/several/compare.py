"""Runs side by side: one page with what their findings have in common, number by number and curve by curve."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from withstand.core.errors import ConfigError
from withstand.core.files import replacing
from withstand.core.findings.finding import Cell, Finding, Measure, Table
from withstand.core.findings.measure import UNTRAINED
from withstand.core.part import Tree
from withstand.report import wording
from withstand.report.charts import MOST_LINES, Chart, Key, clean, dash, overlay, safe, thinned
from withstand.report.folder import StoredRun, number, text
from withstand.report.render import template
from withstand.report.tables import SHARE, Shown, ShownTable, figure, is_around, is_numeric, show


@dataclass(frozen=True)
class Comparison:
    """What the template reads.

    Attributes:
        title: names the runs.
        runs: what each run is.
        figures: by finding, each of its figures for each run.
        learning: what at least two runs logged while they learnt.
        charts: curves that at least two runs have.
        cautions: why runs may not be comparable.
        text: the headline table for a terminal.
    """

    title: str
    runs: ShownTable
    figures: tuple[tuple[str, ShownTable], ...]
    learning: tuple[Chart, ...]
    charts: tuple[Chart, ...]
    cautions: tuple[str, ...]
    text: str


def compare(folders: Sequence[Path], out: Path) -> Comparison:
    """Write the page of several run folders to `out`, whole or not at all.

    Raises:
        ConfigError: fewer than two runs, or the same one twice.
        RunError: one is not a run folder.
    """
    if len(folders) < 2 or len({folder.resolve() for folder in folders}) < len(folders):
        raise ConfigError(f"compare takes two runs or more, each once, not {', '.join(map(str, folders)) or 'none'}")
    found = comparison(dict(zip(_names(folders), map(StoredRun.read, folders), strict=True)))
    html = template("comparison.html", page=found)
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as aside:
        aside.write_text(html, encoding="utf-8", errors="backslashreplace")  # a path's bytes may be no UTF-8
    return found


def comparison(runs: dict[str, StoredRun]) -> Comparison:
    """Return what runs, by name, have in common."""
    facts: list[tuple[Cell, ...]] = []
    for name, run in runs.items():
        seconds = number(run.record, "seconds")
        epochs = number(run.record, "tree", "init_args", "plan", "init_args", "epochs")
        facts.append((name, run.name, text(run.record, "data", "name"), epochs, wording.duration(seconds or 0.0)))
    shared = [key for key in _keys(run.findings for run in runs.values()) if not key.startswith("claim-")]
    figures, charts, lines = [], [], []
    for finding in shared:
        stored = {name: run.findings[finding] for name, run in runs.items() if finding in run.findings}
        rows = _figures(stored)
        if rows:
            figures.append((wording.title(finding), _shown(list(stored), rows)))
            lines += _lines(finding, list(stored), rows)
        for name in _keys(one.tables for one in stored.values()):
            same = {run: one.tables[name] for run, one in stored.items() if name in one.tables}
            data = _data(runs[run] for run in same)
            charts += [replace(chart, data=data) for chart in _overlaid(finding, name, same, list(runs))]
    return Comparison(
        title=" · ".join(runs),
        runs=show(Table(("run", "method", "data", "epochs", "time to learn"), tuple(facts))),
        figures=tuple(figures),
        learning=tuple(_logged(runs)),
        charts=tuple(charts),
        cautions=tuple(_cautions(runs, shared)),
        text="\n".join(lines),
    )


def _names(folders: Sequence[Path]) -> list[str]:
    """Return the folders' own names, or their paths where names are not enough."""
    own = [folder.resolve().name for folder in folders]
    return own if len(set(own)) == len(own) else [str(folder) for folder in folders]


def _keys(tables: Iterable[Mapping[str, object]]) -> list[str]:
    """Return the keys that at least two of the mappings have, in order of appearance."""
    counts: dict[str, int] = {}
    for table in tables:
        for key in table:
            counts[key] = counts.get(key, 0) + 1
    return [key for key, count in counts.items() if count > 1]


def _figures(stored: Mapping[str, Finding]) -> dict[str, list[Measure | None]]:
    """Return the figures that at least two runs have, by name, one measure for each run; controls follow theirs."""
    rows: dict[str, list[Measure | None]] = {}
    for key in _keys(one.figures for one in stored.values()):
        own = [finding.figures.get(key) for finding in stored.values()]
        controls = [None if one is None else one.control for one in own]
        rows[key] = own
        if sum(one is not None for one in controls) > 1:
            called = next(one.control_name for one in own if one is not None and one.control is not None)
            rows[f"{key}, {f'{called} control' if called == UNTRAINED else called}"] = controls
    return rows


def _shown(runs: list[str], rows: Mapping[str, Sequence[Measure | None]]) -> ShownTable:
    """Return figures in rows and runs in columns, in words."""
    shown = tuple(
        (Shown(wording.title(key)), *(Shown("–") if one is None else figure(one) for one in row))
        for key, row in rows.items()
    )
    return ShownTable(("Figure", *runs), shown, (False, *[True] * len(runs)))


_LOGGED = {
    "loss": ("Loss", "Losses of different methods are different quantities: compare where they flatten, not how high."),
    "std": ("Spread", "1 is an even spread over all dimensions, near 0 is collapse."),
    "effective_rank": ("Effective rank", "How many independent directions the codes use; near 1 is collapse."),
}


def _logged(runs: dict[str, StoredRun]) -> list[Chart]:
    """Return what at least two runs logged while they learnt, a line for each run, over passes or else over steps."""
    charts = []
    for name, (title, note) in _LOGGED.items():
        having = {run: one for run, one in runs.items() if any(name in row for row in one.metrics)}
        if len(having) < 2:
            continue
        by = "epoch" if all("epoch" in row for one in having.values() for row in one.metrics) else "step"
        traces: list[Tree] = []
        keys: list[Key] = []
        for run, one in having.items():
            x, y, _ = thinned(one.metrics, name, by)
            place = list(runs).index(run)
            keys.append(Key(run, place, dash(place), len(keys) < MOST_LINES))
            traces.append(
                {
                    "type": "scatter",
                    "mode": "lines" if len(x) > 1 else "markers",
                    "name": safe(run),
                    "x": clean(x),
                    "y": clean(y),
                    "hovertemplate": "%{y:.4g}",
                    "line": {"dash": dash(place)},
                    "meta": place,
                    "visible": keys[-1].shown,
                }
            )
        layout: dict[str, Tree] = {
            "xaxis": {"title": {"text": "passes over the data" if by == "epoch" else "step"}},
            "yaxis": {"rangemode": "tozero"} if name != "loss" else {},
        }
        alt = f"{title} of {', '.join(having)} while they learnt."
        drawn: dict[str, Tree] = {"data": traces, "layout": layout}
        charts.append(Chart(title, drawn, alt, note, keys=tuple(keys), data=_data(having.values())))
    return charts


def _data(runs: Iterable[StoredRun]) -> str:
    """Return the names of the data that runs are of, each once."""
    return ", ".join(dict.fromkeys(name for run in runs if (name := text(run.record, "data", "name"))))


def _overlaid(finding: str, name: str, tables: dict[str, Table], runs: list[str]) -> list[Chart]:
    """Return one chart for each column of curves, with a line for each run; what was not learnt is left out.

    Args:
        finding: what the tables are of.
        name: what they are called.
        tables: by run.
        runs: all runs of the page, so that each has one color throughout.
    """
    drawn = {run: table for run, table in tables.items() if table.x is not None}
    if len(drawn) < 2:
        return []
    first = next(iter(drawn.values()))
    charts = []
    for column in first.columns:
        having = {
            run: table
            for run, table in drawn.items()
            if table.x == first.x and column in table.columns and is_numeric(table, column)
        }
        beside = is_around(column, first.columns) or column in first.controls
        if column == first.x or beside or len(having) < 2 or first.x is None:
            continue
        x = first.x
        points: dict[Cell, dict[str, Cell]] = {}
        for run, table in having.items():
            for at, value in zip(table.column(x), table.column(column), strict=True):
                points.setdefault(at, {})[run] = value
        order = sorted((at for at in points if isinstance(at, int | float)), key=float)
        rows = tuple((at, *(points[at].get(run) for run in having)) for at in order)
        about = wording.title(name if name != "curve" else finding)
        unit = first.units.get(column, "")
        units = dict.fromkeys(having, unit) | {x: first.units.get(x, "")}
        drawing = Table((x, *having), rows, x=x, units=units)
        places = {run: runs.index(run) for run in having}
        charts.append(overlay(f"{about}: {wording.title(column)}", drawing, places, percent=unit == SHARE))
    return charts


def _cautions(runs: dict[str, StoredRun], shared: Sequence[str]) -> list[str]:
    """Return why figures of the same name may mean different things."""
    told = []
    for finding in shared:
        protocols = [run.findings[finding].protocol for run in runs.values() if finding in run.findings]
        for key, words in (("source", "other data"), ("split", "other samples"), ("ball", "another radius or norm")):
            values: list[Tree] = [protocol[key] for protocol in protocols if key in protocol]
            if any(value != values[0] for value in values):
                told.append(f"{wording.title(finding)} was measured on {words} in some of these runs.")
    return told


def _lines(finding: str, runs: list[str], rows: Mapping[str, Sequence[Measure | None]]) -> list[str]:
    """Return figures as lines of text."""
    widths = [max(len(run), 12) for run in runs]
    name = max(map(len, rows))
    lines = [f"{finding:{name + 2}}  " + "  ".join(f"{run:>{w}}" for run, w in zip(runs, widths, strict=True))]
    for key, row in rows.items():
        key = wording.norms(key)
        shown = ("-" if one is None else f"{one.value:.4g}" for one in row)
        lines.append(f"  {key:{name}}  " + "  ".join(f"{c:>{w}}" for c, w in zip(shown, widths, strict=True)))
    return lines
