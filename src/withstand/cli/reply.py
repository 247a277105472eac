"""What a verb answers: text for people, facts for programs."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from withstand.core.finding import HIGH, LOW, Finding
from withstand.core.part import Tree


@dataclass(frozen=True)
class Reply:
    """A verb's answer, and its exit code: 1 says that what was looked at is not in order."""

    text: str
    facts: Mapping[str, Tree] = field(default_factory=dict)
    code: int = 0


def show_finding(finding: Finding) -> str:
    """Return a finding's numbers and checks as lines of text."""
    lines = [f"{finding.name}, {finding.about}" if finding.about else finding.name]
    stored = finding.numbers
    named = [name for name in stored if not name.endswith((LOW, HIGH))]
    width = max(map(len, named), default=0)
    for name in named:
        ends = f" [{_show(stored[name + LOW])}, {_show(stored[name + HIGH])}]" if name + LOW in stored else ""
        lines.append(f"  {name:{width}}  {_show(stored[name])}{ends}")
    marks = {True: "ok", False: "FAILED", None: "not judged"}
    lines += [f"  [{marks[check.passed]}] {check.name}: {check.detail}" for check in finding.checks]
    return "\n".join(lines)


def finding_facts(finding: Finding) -> dict[str, Tree]:
    """Return a finding for JSON output."""
    checks: list[Tree] = [{"name": c.name, "passed": c.passed, "detail": c.detail} for c in finding.checks]
    return {"numbers": dict(finding.numbers), "checks": checks, "protocol": finding.protocol}


def _show(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 100 else f"{value:,.0f}"
