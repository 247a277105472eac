"""audit, report, compare: what runs withstand, and how they are shown."""

from pathlib import Path

from withstand.api.settings import Audit, Inputs, LabelTable
from withstand.cli.interrupted import of_audit, when_interrupted
from withstand.cli.network import folder_of, is_network, refuse_for_runs
from withstand.cli.reply import Reply, finding_facts
from withstand.core.errors import ConfigError
from withstand.core.findings.finding import Finding
from withstand.core.options import Device

_COLUMNS = 6
"""Columns that are named in an answer; the report has them all."""


def run_audit(
    run: Path,
    *,
    data: str | None = None,
    asked: Audit = Audit(),  # noqa: B008 - a frozen value
    inputs: Inputs = Inputs(),  # noqa: B008 - a frozen value
    table: LabelTable = LabelTable(),  # noqa: B008 - a frozen value
    corruptions: bool = False,
    surrogate: str | None = None,
    attack: str | None = None,
    out: Path | None = None,
    device: Device = "auto",
    allow: tuple[str, ...] = (),
) -> Reply:
    """Measure what a run's encoder, or any network, is worth and withstands, and whether the numbers can be believed.

    Args:
        run: a run folder; or a network: FILE.onnx, FILE.safetensors with its FILE.json, FILE.py:NAME, MODULE:NAME
            or timm:NAME
        corruptions: also count what is left under the fifteen common corruptions
        surrogate: another network, whose attacks are carried over to this one as a check
        attack: one that was learnt, run at every radius: a run folder that gives it, or FILE.safetensors
        out: for a network that is no run: the folder of its finding and report, audit-NAME if not said
    """
    from withstand.cli.bar import audit_bar

    folder = out or folder_of("audit", run) if is_network(run) else run
    with when_interrupted(lambda: of_audit(folder)), audit_bar() as progress:
        if is_network(run):
            table.refuse_for_networks()
            from withstand.api.networks import audit
            from withstand.engine.folder import RunFolder

            if data is None:
                raise ConfigError("a network that is no run needs --data: on what shall it be attacked?")
            audit(
                str(run), data, asked, inputs, out=folder, surrogate=surrogate, attack=attack, corruptions=corruptions,
                device=device, allow=allow, progress=progress,
            )  # fmt: skip
            findings, report, name = RunFolder(folder).findings(), folder / "report.html", "audit"
        else:
            from withstand.api.front import open_run

            refuse_for_runs(inputs, out=out)
            opened = open_run(run, allow=allow, device=device, labels=table.labels, label_column=table.label_column)
            others = [opened.corruptions(data, samples=asked.samples, seed=asked.seed)] if corruptions else []
            finding = opened.audit(data, asked, surrogate=surrogate, attack=attack, progress=progress)
            # A robust accuracy without the clean worth beside it says little.
            findings, name = [*opened.probe(data), finding, *others], finding.name
            report = opened.report()
    told = {found.name: found for found in findings}
    # Where no usual probe says what a run is worth, its own judges do.
    worth = [told[one] for one in ("knn", "linear") if one in told] or [one for one in findings if one.headline]
    worth += [one for one in findings if one.bare]
    shown = dict.fromkeys([*(one.name for one in worth), name, *(["corruptions"] if corruptions else [])])
    lines = [str(told[one]) for one in shown]
    lines += _in_columns(told[name])
    lines += [str(verdict)] if (verdict := told[name].protocol.get("verdict")) else []
    text = "\n".join([*lines, f"report: {report}"])
    return Reply(text, {**{name: finding_facts(found) for name, found in told.items()}, "report": str(report)})


def _in_columns(audit: Finding) -> list[str]:
    """Return what the headline's radius is of each column, where samples have columns: a line for the first ones."""
    from withstand.evaluation.robustness.audit import RADIUS

    table = audit.tables.get(RADIUS)
    if table is None:
        return []
    told = [f"{name} by {change}" for name, change, *_ in table.rows[:_COLUMNS]]
    more = f" and {len(table.rows) - _COLUMNS} more columns" if len(table.rows) > _COLUMNS else ""
    return [f"the headline's radius changes {', '.join(told)}{more} at most, and categories never"]


def run_report(run: Path) -> Reply:
    """Write a run's report: one HTML file that opens offline."""
    from withstand.report import render

    path = render(run)
    return Reply(f"report: {path}", {"report": str(path)})


def run_compare(runs: tuple[Path, ...], *, out: Path = Path("comparison.html")) -> Reply:
    """Put runs side by side: one HTML file with the figures and curves that they have in common.

    Args:
        runs: run folders, two or more
        out: the page
    """
    from withstand.report.several.compare import compare

    found = compare(runs, out)
    text = "\n".join([*(f"beware: {caution}" for caution in found.cautions), found.text, f"comparison: {out}"])
    return Reply(text, {"comparison": str(out), "cautions": list(found.cautions)})


def run_leaderboard(folders: tuple[Path, ...], *, out: Path | None = None) -> Reply:
    """Rank audited networks: those that were attacked alike, on the same samples and within the same ball.

    Numbers that are no more than a bound, or are not to be believed, are shown below and not ranked.

    Args:
        folders: of runs, or of audits of other networks
        out: also write the table, as FILE.csv or FILE.md
    """
    from withstand.report.several.leaderboard import boards, facts, in_words, write

    found = boards(folders)
    if out is not None:
        write(found, out)
    text = "\n\n".join(map(in_words, found))
    if len(found) > 1:
        text += f"\n\n{len(found)} boards: numbers of other samples, balls or attacks have no common order"
    return Reply(text, {"boards": [facts(board) for board in found]})
