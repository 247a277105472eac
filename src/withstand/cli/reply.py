"""What a verb answers: text for people, facts for programs."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from withstand.core.finding import Finding, Measure
from withstand.core.part import Tree


@dataclass(frozen=True)
class Reply:
    """A verb's answer, and its exit code: 1 says that what was looked at is not in order."""

    text: str
    facts: Mapping[str, Tree] = field(default_factory=dict)
    code: int = 0


def show_finding(finding: Finding) -> str:
    """Return a finding's figures and checks as lines of text."""
    lines = [f"{finding.name}, {finding.about}" if finding.about else finding.name]
    figures = finding.figures
    width = max(map(len, figures), default=0)
    lines += [f"  {name:{width}}  {show_measure(measure)}" for name, measure in figures.items()]
    marks = {True: "ok", False: "FAILED", None: "not judged"}
    lines += [f"  [{marks[check.passed]}] {check.name}: {check.detail}" for check in finding.checks]
    return "\n".join(lines)


def finding_facts(finding: Finding) -> dict[str, Tree]:
    """Return a finding for JSON output."""
    checks: list[Tree] = [{"name": c.name, "passed": c.passed, "detail": c.detail} for c in finding.checks]
    return {"figures": figure_facts(finding), "checks": checks, "protocol": finding.protocol}


def figure_facts(finding: Finding) -> dict[str, Tree]:
    """Return a finding's figures for JSON output; see `Measure`."""
    return {name: measure.record() for name, measure in finding.figures.items()}


def show_measure(measure: Measure) -> str:
    """Return a figure in words, with its interval or spread, and the control's."""
    words = _digits(measure.value)
    if measure.interval is not None:
        words += f" [{_digits(measure.interval[0])}, {_digits(measure.interval[1])}]"
    elif measure.spread is not None:
        words += f" ± {_digits(measure.spread)}"
    return words if measure.control is None else f"{words}, untrained {show_measure(measure.control)}"


def _digits(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 100 else f"{value:,.0f}"
