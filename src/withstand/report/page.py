"""What the page shows, section by section, as plain values for the templates."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from withstand.core.errors import DataError
from withstand.core.finding import Check, Finding
from withstand.core.part import Tree
from withstand.report import wording
from withstand.report.charts import CONTROL, Chart, curves, embedding_map, metric, safe
from withstand.report.facts import Facts, facts, skipped
from withstand.report.folder import StoredRun, dig
from withstand.report.pictures import PictureBlock, blocks
from withstand.report.scores import Score, scores
from withstand.report.tables import SPREAD, Shown, ShownTable, cell, show
from withstand.report.verdict import Tile, samples, tiles, verdict

_GAUGES = {
    "std": (
        "Spread",
        "Do different samples get different codes? 1 is an even spread over all dimensions, near 0 is collapse: "
        "every sample looks the same.",
    ),
    "effective_rank": (
        "Effective rank",
        "How many independent directions the codes use. Near 1 is collapse onto a line; it should not keep falling.",
    ),
    "alignment": (
        "Alignment",
        "How far apart two views of the same sample lie. Lower is closer; near 0 together with a low spread is "
        "collapse.",
    ),
    "uniformity": (
        "Uniformity",
        "How evenly the codes cover the sphere. More negative is more even; 0 means that all lie in one place.",
    ),
}
_BOOKKEEPING = ("step", "epoch", "loss", "lr", "seconds", "rate")


@dataclass(frozen=True)
class FindingView:
    """A finding, ready to be shown."""

    name: str
    title: str
    numbers: tuple[tuple[str, Shown], ...]
    charts: tuple[Chart, ...]
    tables: tuple[tuple[str, ShownTable], ...]
    blocks: tuple[PictureBlock, ...]
    checks: tuple[Check, ...]
    protocol: dict[str, Tree]


@dataclass(frozen=True)
class Page:
    """Everything the templates read."""

    run: StoredRun
    title: str
    sample: str
    verdict: str
    tiles: list[Tile]
    training: list[Chart]
    gauges: list[Chart]
    scalars: list[Chart]
    map: Chart | None
    neighbours: FindingView | None
    comparison: Chart | None
    scores: list[Score]
    probes: list[FindingView]
    others: list[FindingView]
    audits: list[FindingView]
    claims: list[FindingView]
    checks: list[tuple[str, Check]]
    labelled: bool
    facts: list[tuple[str, Facts]]
    skipped: list[tuple[str, str]]
    tree: Tree


def page(run: StoredRun) -> Page:
    """Sort a run's contents into the page's sections."""
    found = scores(run.findings)
    probes = [one.name for one in found]
    views = {name: view(finding) for name, finding in run.findings.items() if name != "map"}
    rest = [name for name in views if name not in probes and name != "neighbours"]
    claims = [name for name in rest if name.startswith("claim-")]
    audits = sorted((name for name in rest if name not in claims and _withstands(run.findings[name])), key=_audit_first)
    shown = [metric(run.metrics, "loss", "Loss"), metric(run.metrics, "lr", "Learning rate")]
    gauges = [metric(run.metrics, name, *words) for name, words in _GAUGES.items()]
    logged = {key: None for row in run.metrics for key in row if key not in _GAUGES and key not in _BOOKKEEPING}
    scalars = [metric(run.metrics, name, wording.title(name)) for name in logged]
    return Page(
        run=run,
        title=run.name,
        sample=samples(run),
        verdict=verdict(run),
        tiles=tiles(run),
        training=[chart for chart in shown if chart],
        gauges=[chart for chart in gauges if chart],
        scalars=[chart for chart in scalars if chart],
        map=_map(run),
        neighbours=views.get("neighbours"),
        comparison=_comparison(found) if found else None,
        scores=found,
        probes=[views[name] for name in probes],
        others=[views[name] for name in rest if name not in claims and name not in audits],
        audits=[views[name] for name in audits],
        claims=[views[name] for name in claims],
        checks=_checks(run.findings),
        labelled=dig(run.record, "data", "labelled") is not False,
        facts=facts(run),
        skipped=skipped(run),
        tree=dig(run.record, "tree"),
    )


def _checks(findings: dict[str, Finding]) -> list[tuple[str, Check]]:
    """Return all checks with what they are of: failed, then undecided, then passed."""
    checks = [(name, check) for name, finding in findings.items() for check in finding.checks]
    return sorted(checks, key=lambda pair: (False, None, True).index(pair[1].passed))


def _withstands(finding: Finding) -> bool:
    """Whether a finding tells about resistance: the audit, and whatever else has a curve over eps."""
    return finding.name.startswith("audit") or any(table.x == "eps" for table in finding.tables.values())


def _audit_first(name: str) -> tuple[bool, str]:
    return name != "audit", name


def view(finding: Finding) -> FindingView:
    """Return any finding for the page: tables with `x` become charts, all else is shown as it is."""
    charted = {name: curves(name, table) for name, table in finding.tables.items() if table.x is not None}
    shown = blocks(finding)
    noted = {"pictures"} if any(row.notes for block in shown for row in block.rows) else set()
    return FindingView(
        name=finding.name,
        title=wording.title(finding.name),
        numbers=tuple(_numbers(finding)),
        charts=tuple(chart for charts in charted.values() for chart in charts),
        tables=tuple(
            (wording.title(name), show(name, table))
            for name, table in finding.tables.items()
            if not charted.get(name) and name not in noted
        ),
        blocks=shown,
        checks=finding.checks,
        protocol=finding.protocol,
    )


def _numbers(finding: Finding) -> list[tuple[str, Shown]]:
    """Return the headline figures, spreads beside what they are spreads of."""
    stored = finding.numbers
    return [
        (
            wording.title(key),
            cell(key, value, share=wording.is_share(key, [value]), spread=stored.get(key + SPREAD)),
        )
        for key, value in stored.items()
        if not (key.endswith(SPREAD) and key.removesuffix(SPREAD) in stored)
    ]


def _map(run: StoredRun) -> Chart | None:
    if "map" not in run.findings:
        return None
    for table in run.findings["map"].tables.values():
        if {"x", "y"} <= set(table.columns):
            return embedding_map(table)
    raise DataError(f"{run.path / 'findings' / 'map.json'} holds no table with the columns x and y")


def _comparison(found: list[Score]) -> Chart:
    """Return one dot for each probe and each control, with intervals, probes from top to bottom."""
    kinds: tuple[tuple[str, Callable[[Score], tuple[float | None, float | None]], dict[str, Tree]], ...] = (
        (
            "untrained encoder",
            lambda one: (one.untrained, one.untrained_spread),
            {"color": CONTROL, "symbol": "circle-open", "size": 11},
        ),
        ("this encoder", lambda one: (one.accuracy, one.spread), {"size": 12}),
    )
    traces: list[Tree] = []
    for name, take, marker in kinds:
        pairs = [take(one) for one in found]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": name,
                "x": [value for value, _ in pairs],
                "y": [safe(wording.title(one.name)) for one in found],
                "marker": marker,
                "error_x": {"array": [_finite(spread) for _, spread in pairs], "thickness": 1.5, "width": 5},
                "hovertemplate": "%{x:.1%}",
            }
        )
    layout: dict[str, Tree] = {
        "xaxis": {"tickformat": ".0%", "title": {"text": "accuracy"}},
        "yaxis": {"autorange": "reversed", "type": "category", "showgrid": True},
        "showlegend": True,
        "hovermode": "closest",
    }
    alt = "Accuracy of each probe on this encoder and on the untrained one; the numbers are in the table beside it."
    return Chart("Accuracy by probe", {"data": traces, "layout": layout}, alt, height=110 + 40 * len(found))


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
