"""What a finding's headline is: a probe's accuracy beside its control, an audit's fall from clean to attacked."""

from dataclasses import dataclass

from withstand.core.finding import Finding
from withstand.core.part import Tree
from withstand.report import wording
from withstand.report.folder import number, text
from withstand.report.tables import SPREAD, numbers, shares

PROBES = ("knn", "linear", "naive-bayes", "centroid")
"""Probes in the order in which they speak for an encoder."""


@dataclass(frozen=True)
class Score:
    """A probe's accuracy, the untrained control's, and half the width of their intervals; None where not stored."""

    name: str
    accuracy: float
    spread: float | None
    untrained: float | None
    untrained_spread: float | None

    @property
    def gain(self) -> float | None:
        """How much training brought."""
        return None if self.untrained is None else self.accuracy - self.untrained

    @property
    def clear(self) -> bool:
        """Whether the gain is larger than both intervals together, where there are intervals."""
        return self.gain is not None and self.gain > (self.spread or 0.0) + (self.untrained_spread or 0.0)


@dataclass(frozen=True)
class Strength:
    """Accuracy without an attack and under the strongest audited one, and that attack's ball."""

    clean: float
    robust: float
    eps: float
    norm: str

    @property
    def ball(self) -> str:
        """The ball in words: Linf 8/255."""
        return f"{self.norm} {wording.eps_over_255(self.eps) if self.eps <= 0.25 else f'{self.eps:.3g}'}".strip()


def score(finding: Finding) -> Score | None:
    """Return a probe's headline, or None when the finding holds no accuracy."""
    stored = finding.numbers
    controls = [key for key in stored if "untrained" in key and not key.endswith(SPREAD)]
    own = [key for key in stored if "accuracy" in key and key not in controls and not key.endswith(SPREAD)]
    if not own:
        return None
    key = "accuracy" if "accuracy" in own else own[0]
    control = controls[0] if controls else None
    return Score(
        finding.name,
        stored[key],
        stored.get(key + SPREAD),
        stored[control] if control else None,
        stored.get(control + SPREAD) if control else None,
    )


def scores(findings: dict[str, Finding]) -> list[Score]:
    """Return the headlines of all probes: the known ones first, then others that carry an untrained control."""
    others = sorted(name for name in findings if name not in PROBES)
    found = []
    for name in (*PROBES, *others):
        if name in findings:
            one = score(findings[name])
            if one is not None and (name in PROBES or one.untrained is not None):
                found.append(one)
    return found


def strength(audit: Finding) -> Strength | None:
    """Return an audit's headline, from its numbers, or from the ends of its curve over eps."""
    protocol: Tree = audit.protocol
    norm = text(protocol, "norm") or text(protocol, "ball", "norm")
    clean = next((value for key, value in audit.numbers.items() if "clean" in key), None)
    robust = next((value for key, value in audit.numbers.items() if "robust" in key), None)
    eps = number(protocol, "eps") or number(protocol, "ball", "eps") or audit.numbers.get("eps")
    if clean is not None and robust is not None and eps is not None:
        return Strength(clean, robust, eps, norm)
    for name, table in audit.tables.items():
        lines = [column for column in table.columns if not column.endswith(SPREAD) and shares(name, table, column)]
        if table.x == "eps" and table.rows and lines:
            points = sorted(zip(numbers(table.column("eps")), numbers(table.column(lines[0])), strict=True))
            return Strength(points[0][1], points[-1][1], points[-1][0], norm)
    return None
