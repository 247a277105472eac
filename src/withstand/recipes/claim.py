"""A paper's directional statement, put to the test on real data against the paper's own baseline."""

from dataclasses import dataclass, field
from statistics import mean, stdev
from typing import Literal

from withstand.core.finding import Finding, Table
from withstand.core.part import Tree

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
    """

    slug: str
    statement: str
    quantity: str
    system: tuple[float, ...]
    baseline: tuple[float, ...]
    names: tuple[str, str]
    protocol: dict[str, Tree] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.system) != len(self.baseline) or len(self.system) < 2:
            raise ValueError("a claim needs at least two seeds, and both figures for each")

    @property
    def effect(self) -> float:
        """The mean difference, system minus baseline."""
        return mean(self._differences())

    @property
    def spread(self) -> float:
        """The standard deviation of the differences over seeds."""
        return stdev(self._differences())

    @property
    def verdict(self) -> Verdict:
        """Undecided when the spread is at least the effect; else by the effect's sign."""
        if abs(self.effect) <= self.spread:
            return "undecided"
        return "reproduced" if self.effect > 0 else "not reproduced at this scale"

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
            numbers={
                f"{self.quantity}, {system}": mean(self.system),
                f"{self.quantity}, {system} ±": stdev(self.system),
                f"{self.quantity}, {baseline}": mean(self.baseline),
                f"{self.quantity}, {baseline} ±": stdev(self.baseline),
                "effect": self.effect,
                "effect ±": self.spread,
            },
            tables={"seeds": Table(("seed", system, baseline), tuple(rows)), **self.tables},
            protocol={"statement": self.statement, "verdict": self.verdict, **self.protocol},
        )
