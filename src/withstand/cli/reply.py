"""What a verb answers: text for people, facts for programs."""

import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from withstand.core.findings.finding import Finding
from withstand.core.part import Tree


@dataclass(frozen=True)
class Reply:
    """A verb's answer, and its exit code: 1 says that what was looked at is not in order."""

    text: str
    facts: Mapping[str, Tree] = field(default_factory=dict)
    code: int = 0


def then(verb: str, *words: object) -> str:
    """Return a line that names the command that comes next, as it may be typed.

    >>> then("report", "runs/simclr-my photos")
    "next: withstand report 'runs/simclr-my photos'"
    """
    return f"next: {shlex.join(['withstand', verb, *map(str, words)])}"


def what_next(run: Path, gives: Collection[str], audit: Sequence[object] | None, otherwise: str) -> str:
    """Return the line of what comes next for a run, by what it gives.

    Args:
        run: its folder.
        gives: the names of its products.
        audit: what follows the run's name where it is audited next; None where it cannot be.
        otherwise: the verb where there is nothing better.

    >>> what_next(Path("runs/raw-isp"), ["encoder", "purifier"], (), "probe")
    'next: withstand defend CLASSIFIER --by runs/raw-isp'
    >>> what_next(Path("runs/simclr"), ["encoder"], ("--labels", "y.csv"), "report")
    'next: withstand audit runs/simclr --labels y.csv'
    """
    if "condensed" in gives:
        return then("apply", run)
    if "purifier" in gives:
        return then("defend", "CLASSIFIER", "--by", run)
    return then(otherwise, run) if audit is None else then("audit", run, *audit)


def finding_facts(finding: Finding) -> dict[str, Tree]:
    """Return a finding for JSON output."""
    checks: list[Tree] = [{"name": c.name, "passed": c.passed, "detail": c.detail} for c in finding.checks]
    return {"figures": figure_facts(finding), "checks": checks, "protocol": finding.protocol}


def figure_facts(finding: Finding) -> dict[str, Tree]:
    """Return a finding's figures for JSON output; see `Measure`."""
    return {name: measure.record() for name, measure in finding.figures.items()}
