"""Write docs/claims.md from the findings that `withstand reproduce METHOD --out docs/claims` stored.

python tools/claims_page.py
"""

from pathlib import Path

from withstand.core.errors import DataError
from withstand.core.findings.finding import Finding, Table

DOCS = Path(__file__).parent.parent / "docs"


def main() -> None:
    """Write the page."""
    findings = [Finding.load(path) for path in sorted((DOCS / "claims").glob("claim-*.json"))]
    lines = [
        "# Claims",
        "",
        "What papers claim, put to the test at a small scale against the paper's own baseline, under equal budgets.",
        "Made by `python tools/claims_page.py` from the findings in [claims/](claims); each row is re-run by its",
        "command, and all by `withstand reproduce all --out docs/claims`, which passes over what is stored and",
        "current. The verdict is the paired 95 % interval's of the effect: reproduced where it lies above 0, not",
        "reproduced at this scale where it lies below, or so close round 0 that it would not matter, else undecided.",
        "A test begins with a few seeds (three, as a rule) and adds one after another until the interval decides or",
        "the claim's budget is spent. Looking after each of three to ten seeds has its price: where there is no",
        "effect, one claim in twelve is called reproduced, where a single look would call one in forty so. Older tests",
        "looked once, at a fixed number of seeds.",
        "Times are a processor's, of all seeds of both sides, probes",
        "included: on two cores a claim takes half as long at best.",
        "",
        "| claim | measured | system | baseline | effect | verdict | time |",
        "|---|---|---|---|---|---|---|",
    ]
    for finding in findings:
        seeds = finding.tables["seeds"]
        _, system, baseline = seeds.columns
        quantity = next(iter(finding.figures)).removesuffix(f", {system}")
        cells = [
            str(finding.protocol["statement"]),
            quantity,
            f"{system}: {_of(finding, f'{quantity}, {system}')}",
            f"{baseline}: {_of(finding, f'{quantity}, {baseline}')}",
            effect_of(finding),
            f"**{finding.protocol['verdict']}**, {len(seeds.rows)} seeds",
            _time(finding),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    for finding in findings:
        slug = finding.name.removeprefix("claim-")
        lines += ["", f"## {slug}", "", f"`withstand reproduce {slug} --out docs/claims`", ""]
        for name, table in finding.tables.items():
            lines += [f"**{name}**", "", *_markdown(table), ""]
    (DOCS / "claims.md").write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


def effect_of(finding: Finding) -> str:
    """Return a claim's effect with its interval."""
    effect = finding.figures["effect"]
    if effect.interval is None:
        raise DataError(f"{finding.name} holds no interval of its effect")
    return f"{effect.value:.3f} [{effect.interval[0]:.3f}, {effect.interval[1]:.3f}]"


def _of(finding: Finding, name: str) -> str:
    measure = finding.figures[name]
    return f"{measure.value:.3f} ± {measure.spread:.3f}"


def _time(finding: Finding) -> str:
    """Return how long a finding took; the older ones do not say."""
    seconds = finding.protocol.get("processor seconds")
    return f"{seconds:.0f} s" if isinstance(seconds, float) else "not recorded"


def _markdown(table: Table) -> list[str]:
    rows = [[f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row] for row in table.rows]
    return [f"| {' | '.join(row)} |" for row in [list(table.columns), ["---"] * len(table.columns), *rows]]


if __name__ == "__main__":
    main()
