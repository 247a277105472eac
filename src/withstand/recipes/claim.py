"""A paper's directional statement, put to the test on real data against the paper's own baseline."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import mean, stdev
from typing import Literal

from scipy.stats import t

from withstand.core.finding import HIGH, LOW, Finding, Table
from withstand.core.part import Tree

MATERIAL = "least difference that would matter"
"""Where a claim's protocol says so."""

Verdict = Literal["reproduced", "not reproduced at this scale", "undecided"]


@dataclass(frozen=True)
class Claim:
    """Paired measurements of a system and its baseline, one pair a seed.

    Attributes:
        slug: the recipe.
        statement: what the paper claims, in one sentence.
        quantity: what was measured; higher is better.
        system: the system's figures, by seed.
        baseline: the baseline's figures under the same budget, by seed.
        names: how system and baseline are called.
        protocol: data, budget, settings.
        tables: curves and details for the report.
        material: the least difference that would matter; an interval that lies within it round 0 decides against the
            claim.
    """

    slug: str
    statement: str
    quantity: str
    system: tuple[float, ...]
    baseline: tuple[float, ...]
    names: tuple[str, str]
    protocol: dict[str, Tree] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)
    material: float = 0.01

    def __post_init__(self) -> None:
        if len(self.system) != len(self.baseline) or len(self.system) < 2:
            raise ValueError("a claim needs at least two seeds, and both figures for each")

    @property
    def effect(self) -> float:
        """The mean difference, system minus baseline."""
        return mean(self._differences())

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the mean difference, by Student's t on the pairs."""
        return paired_interval(self._differences())

    @property
    def verdict(self) -> Verdict:
        """What the interval decides; see `judge`."""
        return judge(self.interval, self.material)

    def _differences(self) -> list[float]:
        return [ours - theirs for ours, theirs in zip(self.system, self.baseline, strict=True)]

    def finding(self) -> Finding:
        """Return the claim as a finding named `claim-<slug>`."""
        system, baseline = self.names
        rows = [
            (seed, ours, theirs) for seed, (ours, theirs) in enumerate(zip(self.system, self.baseline, strict=True))
        ]
        return Finding(
            name=f"claim-{self.slug}",
            figures={
                f"{self.quantity}, {system}": mean(self.system),
                f"{self.quantity}, {system} ±": stdev(self.system),
                f"{self.quantity}, {baseline}": mean(self.baseline),
                f"{self.quantity}, {baseline} ±": stdev(self.baseline),
                **_effect(self.effect, self.interval),
            },
            tables={"seeds": Table(("seed", system, baseline), tuple(rows)), **self.tables},
            protocol={
                "statement": self.statement, "verdict": self.verdict, MATERIAL: self.material, **self.protocol
            },
        )  # fmt: skip


def paired_interval(differences: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of the mean of paired differences, by Student's t.

    >>> [round(end, 4) for end in paired_interval([0.01, 0.02, 0.03])]
    [-0.0048, 0.0448]
    """
    half = float(t.ppf(0.975, len(differences) - 1)) * stdev(differences) / math.sqrt(len(differences))
    return mean(differences) - half, mean(differences) + half


def judge(interval: tuple[float, float], material: float) -> Verdict:
    """Return what the interval of a claim's effect decides.

    "reproduced" where it lies above 0; "not reproduced at this scale" where it lies below, or so close round 0 that no
    difference that would matter is left; else "undecided".
    """
    low, high = interval
    if low > 0:
        return "reproduced"
    return "not reproduced at this scale" if high < 0 or -material < low <= high < material else "undecided"


def judged_again(finding: Finding) -> Finding:
    """Return a stored claim's finding with the verdict that its seeds give, and the one that it had beside it."""
    pairs = [row[1:3] for row in finding.tables["seeds"].rows]
    differences = [float(ours) - float(theirs) for ours, theirs in pairs]  # type: ignore[arg-type]
    interval, material = paired_interval(differences), float(finding.protocol.get(MATERIAL, 0.01))  # type: ignore[arg-type]
    verdict, before = judge(interval, material), finding.protocol["verdict"]
    numbers = {name: value for name, value in finding.numbers.items() if not name.startswith("effect")}
    told: dict[str, Tree] = {} if before == verdict else {"verdict by the spread over seeds": before}
    return replace(
        finding,
        figures=numbers | _effect(mean(differences), interval),
        protocol=finding.protocol | {"verdict": verdict, MATERIAL: material} | told,
    )


def _effect(value: float, interval: tuple[float, float]) -> dict[str, float]:
    return {"effect": value, f"effect{LOW}": interval[0], f"effect{HIGH}": interval[1]}
