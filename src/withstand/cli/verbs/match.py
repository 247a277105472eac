"""match: one or two dirty tables become one."""

from pathlib import Path

from withstand.api.settings import Matching
from withstand.cli.reply import Reply, finding_facts
from withstand.core.errors import ConfigError
from withstand.core.findings.finding import Finding
from withstand.core.options import Device


def run_match(
    tables: tuple[str, ...],
    *,
    run: Path | None = None,
    asked: Matching = Matching(),  # noqa: B008 - a frozen value
    out: Path | None = None,
    fresh: bool = False,
    device: Device = "auto",
    allow: tuple[str, ...] = (),
) -> Reply:
    """Merge one or two tables: find which records are the same, resolve conflicts, list the pairs to look at.

    Writes merged.csv, conflicts.csv and pairs.csv.

    Args:
        tables: A.csv, or A.csv B.csv; CSV, Parquet and Feather files
        run: a run of table-integration whose matcher is used; one is learnt from these tables if not said
        out: the folder of the files, match-NAME if not said
        fresh: learn anew where the folder holds a matcher of other tables or settings
    """
    from withstand.api.matching import match

    if len(tables) > 2:
        raise ConfigError(f"match takes one table or two, not {len(tables)}")
    other = tables[1] if len(tables) == 2 else None
    found = match(tables[0], other, asked, run=run, out=out, device=device, allow=allow, fresh=fresh, quiet=False)
    finding, files = found.integration.finding, {name: str(path) for name, path in found.files.items()}
    report = found.run.path / "report.html"
    lines = [*_said(finding, len(found.integration.look)), *files.values(), f"report: {report}"]
    return Reply("\n".join(lines), {**finding_facts(finding), "files": {**files}, "report": str(report)})


def _said(finding: Finding, look: int) -> list[str]:
    """Return the summary in a few lines."""
    count = {name: int(value) for name, value in finding.numbers.items() if not name.startswith("F1")}
    protocol = finding.protocol
    lines = [
        f"{count['rows in']:,} rows became {count['rows out']:,}",
        f"  {count['sets of several records']:,} sets of several records, "
        f"{count['sets of equal records alone']:,} of them equal in every compared column",
        f"  {count['conflicts']:,} conflicts, decided by: {protocol['conflicts']}",
        f"  {look:,} pairs to look at; threshold {float(str(protocol['threshold'])):.4f}, from "
        f"{protocol['threshold from']}",
    ]
    left_out = protocol["not compared"]
    lines += [f"  not compared: {one}" for one in (left_out if isinstance(left_out, list) else [])]
    lines += [f"  {name}  {value:.4f}" for name, value in finding.numbers.items() if name.startswith("F1")]
    marks = {True: "ok", False: "FAILED", None: "not judged"}
    return lines + [f"  [{marks[one.passed]}] {one.name}: {one.detail}" for one in finding.checks]
