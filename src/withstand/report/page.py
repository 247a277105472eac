"""What the page shows, section by section, as plain values for the templates."""

from dataclasses import dataclass, replace

from withstand.core.findings.finding import Check, Finding
from withstand.core.part import Tree
from withstand.report import wording
from withstand.report.charts import Chart
from withstand.report.facts import Facts, facts, skipped
from withstand.report.findings import FindingView, view, withstands
from withstand.report.folder import StoredRun, dig, text
from withstand.report.learnt import Learnt, learnt
from withstand.report.neighbors import in_words
from withstand.report.scatter import comparison
from withstand.report.scores import Score, scores
from withstand.report.tables import ShownTable
from withstand.report.verdict import TRUST, Tile, samples, tiles, trust, verdict


@dataclass(frozen=True)
class Page:
    """Everything the templates read."""

    run: StoredRun
    title: str
    subtitle: str
    sample: str
    verdict: str
    tiles: list[Tile]
    learnt: Learnt
    map: FindingView | None
    neighbors: ShownTable | None
    gauges: FindingView | None
    samples: FindingView | None
    geometry: FindingView | None
    layers: FindingView | None
    comparison: Chart | None
    scores: list[Score]
    probes: list[FindingView]
    others: list[FindingView]
    audits: list[FindingView]
    claims: list[FindingView]
    checks: list[tuple[str, Check]]
    trust: tuple[str, str]
    labelled: bool
    trained: bool
    taught_by: str
    saw_labels: bool
    frozen: bool
    facts: list[tuple[str, Facts]]
    skipped: list[tuple[str, str]]
    tree: Tree


def page(run: StoredRun) -> Page:
    """Sort a run's contents into the page's sections."""
    data, noun = text(run.record, "data", "name"), samples(run)
    found = scores(run.findings)
    probes = {one.name: view(run.findings[one.name], data, noun) for one in found}
    rest = {name: finding for name, finding in run.findings.items() if name not in probes}
    shown = ("map", "gauges", "samples", "geometry", "layers")
    learning = {name: view(rest.pop(name), data, noun, without=("map",)) for name in shown if name in rest}
    claims = [rest.pop(name) for name in list(rest) if name.startswith("claim-")]
    beside = [name for name, finding in rest.items() if finding.bare and not withstands(finding)]  # checks say it
    rest = {name: finding for name, finding in rest.items() if name not in beside}
    audits = sorted(filter(withstands, rest.values()), key=lambda finding: (finding.name != "audit", finding.name))
    facts_of_data = (data, text(run.record, "created")[:10])
    return Page(
        run=run,
        title=run.name,
        subtitle=" · ".join(fact for fact in facts_of_data if fact),
        sample=noun,
        verdict=verdict(run),
        tiles=tiles(run),
        learnt=learnt(run),
        map=learning.get("map"),
        neighbors=in_words(run.findings["map"], noun) if "map" in run.findings else None,
        gauges=learning.get("gauges"),
        samples=learning.get("samples"),
        geometry=learning.get("geometry"),
        layers=learning.get("layers"),
        comparison=comparison(found, data) if found else None,
        scores=found,
        probes=list(probes.values()),
        others=[view(finding, data, noun, without=("map",)) for finding in rest.values() if finding not in audits],
        audits=[view(finding, data, noun) for finding in audits],
        claims=[view(finding, data, noun) for finding in claims],
        checks=_checks(run.findings),
        trust=TRUST[trust(run)],
        labelled=dig(run.record, "data", "labelled") is not False,
        trained=run.trained,
        taught_by=run.taught_by,
        saw_labels=run.saw_labels,
        frozen=run.frozen,
        facts=facts(run),
        skipped=skipped(run),
        tree=dig(run.record, "tree"),
    )


def _checks(findings: dict[str, Finding]) -> list[tuple[str, Check]]:
    """Return all checks with what they are of: failed, then undecided, then passed."""
    checks = [
        (name, replace(check, detail=wording.norms(check.detail)))
        for name, finding in findings.items()
        for check in finding.checks
    ]
    return sorted(checks, key=lambda pair: (False, None, True).index(pair[1].passed))
