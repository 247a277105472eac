"""Compare: measure a claim's arms seed by seed until the paired interval of their difference decides."""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean, stdev
from typing import Generic, Literal

from scipy.stats import t

from withstand.claims.protocol.claim import Arm, Budget, Claim, Found
from withstand.core.findings.finding import Finding, Measure, Table, number
from withstand.core.part import Tree
from withstand.core.random import isolated

MATERIAL = "least difference that would matter"
"""Where a claim's protocol says so."""

Verdict = Literal["reproduced", "not reproduced at this scale", "undecided"]


@dataclass(frozen=True)
class Seed(Generic[Found]):
    """One seed of a claim: what was measured of each arm, and the processor time and wall time that it took."""

    found: Mapping[str, Found]
    processor_seconds: float
    seconds: float


@dataclass(frozen=True)
class Comparison(Generic[Arm, Found]):
    """A claim's arms, measured for several seeds.

    Attributes:
        claim: what is tested.
        seeds: what was measured, from seed 0 on; at least two.
    """

    claim: Claim[Arm, Found]
    seeds: tuple[Seed[Found], ...]

    @property
    def pairs(self) -> list[tuple[float, float]]:
        """The system's and the baseline's figure of each seed."""
        return [self.claim.figures(seed.found) for seed in self.seeds]

    @property
    def differences(self) -> list[float]:
        """System minus baseline, seed by seed."""
        return [ours - theirs for ours, theirs in self.pairs]

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the mean difference, by Student's t on the pairs."""
        return paired_interval(self.differences)

    @property
    def verdict(self) -> Verdict:
        """What the interval decides; see `judge`."""
        return judge(self.interval, self.claim.material)

    def finding(self, slug: str) -> Finding:
        """Return it as the finding `claim-<slug>`."""
        claim, count = self.claim, len(self.seeds)
        sides = dict(zip(claim.names, zip(*self.pairs, strict=True), strict=True))
        found = [seed.found for seed in self.seeds]
        rows = tuple((seed, *pair) for seed, pair in enumerate(self.pairs))
        return Finding(
            name=f"claim-{slug}",
            figures={
                **{
                    f"{claim.quantity}, {name}": Measure(
                        mean(figures), claim.unit, "higher", spread=stdev(figures), of=count
                    )
                    for name, figures in sides.items()
                },
                "effect": effect(self.differences, claim.unit),
            },
            tables={
                "seeds": Table(("seed", *claim.names), rows, units=dict.fromkeys(claim.names, claim.unit)),
                **claim.tables(found),
            },
            protocol={
                "statement": claim.statement,
                "verdict": self.verdict,
                MATERIAL: claim.material,
                **claim.protocol(arms_of(claim, count - 1), found),
            },
            headline="effect",
        )


def compare(
    claim: Claim[Arm, Found],
    budget: Budget | None = None,
    *,
    known: Sequence[Seed[Found]] = (),
    begin: Callable[[int, str], None] | None = None,
    after: Callable[[Comparison[Arm, Found]], None] | None = None,
) -> Comparison[Arm, Found]:
    """Measure the arms seed by seed, until their interval decides or the budget is spent.

    Looking after each of three to ten seeds calls one claim in twelve reproduced where there is no effect, by
    simulation with normal differences; a single look, `budget.least` equal to `budget.most`, one in forty.

    Args:
        claim: what is tested.
        budget: how many seeds; the claim's own if not given.
        known: seeds that were measured before, from seed 0 on.
        begin: called with seed and name before an arm is measured.
        after: called with what is known after each seed.
    """
    limit = claim.budget if budget is None else budget
    seeds = list(known[: limit.most])
    while len(seeds) < limit.least or (
        len(seeds) < limit.most
        and Comparison(claim, tuple(seeds)).verdict == "undecided"
        and (limit.seconds is None or sum(seed.processor_seconds for seed in seeds) < limit.seconds)
    ):
        seeds.append(_measured(claim, len(seeds), begin))
        if after is not None:
            after(Comparison(claim, tuple(seeds)))
    return Comparison(claim, tuple(seeds))


def _measured(claim: Claim[Arm, Found], seed: int, begin: Callable[[int, str], None] | None) -> Seed[Found]:
    busy, began = time.process_time(), time.perf_counter()
    found: dict[str, Found] = {}
    for name in claim.arms:
        if begin is not None:
            begin(seed, name)
        # Kept and new seeds are alike: both have been JSON.
        found[name] = json.loads(json.dumps(claim.measure(_arm(claim, name, seed))))
    return Seed(found, time.process_time() - busy, time.perf_counter() - began)


def arms_of(claim: Claim[Arm, Found], seed: int) -> dict[str, Arm]:
    """Return what a seed's arms are, by name."""
    return {name: _arm(claim, name, seed) for name in claim.arms}


def _arm(claim: Claim[Arm, Found], name: str, seed: int) -> Arm:
    with isolated(seed, "claim"):
        return claim.arms[name](seed)


def effect(differences: Sequence[float], unit: str) -> Measure:
    """Return the mean of paired differences with its 95 % interval."""
    interval = paired_interval(differences)
    return Measure(mean(differences), unit, "higher", interval=interval, of=len(differences))


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
    differences = [number(ours) - number(theirs) for ours, theirs in pairs]
    found = effect(differences, finding.figures["effect"].unit)
    material = number(finding.protocol.get(MATERIAL, 0.01))
    verdict, before = judge(paired_interval(differences), material), finding.protocol["verdict"]
    told: dict[str, Tree] = {} if before == verdict else {"verdict by the spread over seeds": before}
    return replace(
        finding,
        figures={**finding.figures, "effect": found},
        protocol=finding.protocol | {"verdict": verdict, MATERIAL: material} | told,
    )
