"""The headline: the one number that an audit is read for, on how many samples it rests, who attacked and with what."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from withstand.attacks.autoattack.autoattack import AutoAttack
from withstand.attacks.checks import verdict
from withstand.core.findings.finding import Check, Measure
from withstand.core.findings.norms import norms
from withstand.core.part import Tree
from withstand.evaluation.statistics.intervals import Share

LAST_WORD = "the strongest attacks had the last word"
"""The check that makes the difference between a number and a bound."""

WHITE_BOX, BLACK_BOX = "with gradients and outputs", "with outputs alone"
"""What the attacks were given of the victim."""

Bound: TypeAlias = Literal["an upper bound", "a lower bound"]


@dataclass(frozen=True)
class Headline:
    """A share of samples, and what it rests on.

    Attributes:
        name: of the figure in the finding.
        against: the name of the figure that it is read beside: the same without an attack.
        ball: norm and radius in words.
        what: is said of the share, norms as figures are called: "samples hold within linf 8/255".
        share: itself, with its interval.
        attack: what was run.
        access: what it was given of the victim.
        alone: the attack, "PGD-3", where none of those that decide was run; "" where they were.
        bound: what the share then is of the true one.
    """

    name: str
    against: str
    ball: str
    what: str
    share: Share
    attack: str
    access: str
    alone: str = ""
    bound: Bound = "an upper bound"

    def measure(self) -> Measure:
        """Return the share as a figure: an upper bound is one of what should be high."""
        return self.share.measure("higher" if self.bound == "an upper bound" else "lower")

    def last_word(self) -> Check:
        """Check that the share is more than a bound by a quick look."""
        settled = self.share.hits == (0 if self.bound == "an upper bound" else self.share.count)
        if settled and self.alone:
            return Check(LAST_WORD, True, f"{self.alone} left nothing to them")
        detail = f"only {self.alone} was run: the number is {self.bound}" if self.alone else f"after {self.attack}"
        return Check(LAST_WORD, not self.alone, detail)

    def standing(self, checks: Sequence[Check]) -> str:
        """Return "believable", "an upper bound by PGD-3", "not believable" or "not judged"."""
        failed = [check for check in checks if check.passed is False]
        if any(check.name != LAST_WORD for check in failed):
            return "not believable"
        if failed:
            return f"{self.bound} by {self.alone}"
        return "believable" if verdict(checks).startswith("Believable") else "not judged"

    def verdict(self, checks: Sequence[Check]) -> str:
        """Return what the number is worth, and the number with all that it rests on."""
        standing, found = self.standing(checks), self.sentence()
        if standing.startswith(self.bound):
            passed = sum(check.passed is True for check in checks)
            lead = f"{standing[0].upper()}{standing[1:]}, no more"
            return f"{lead}: {passed} of {len(checks)} checks passed. {found}"
        return f"{verdict([check for check in checks if check.name != LAST_WORD or check.passed])} {found}"

    def sentence(self) -> str:
        """Return the number in words."""
        low, high = self.share.interval
        at = "At most" if self.bound == "an upper bound" else "At least"
        return (
            f"{at} {self.share.value:.1%} of {self.share.count} {norms(self.what)} "
            f"(95 % interval {low:.1%} to {high:.1%}), under {self.attack} {self.access}."
        )

    def tree(self, checks: Sequence[Check]) -> dict[str, Tree]:
        """Return it for a finding's protocol."""
        low, high = self.share.interval
        return {
            "number": self.name,
            "against": self.against,
            "ball": self.ball,
            "value": self.share.value,
            "interval": [low, high],
            "samples": self.share.count,
            "attack": self.attack,
            "access": self.access,
            "standing": self.standing(checks),
        }


def listed(attacks: Sequence[str]) -> str:
    """Return names as one speaks: "PGD-20 and AutoAttack"."""
    return " and ".join([", ".join(attacks[:-1]), attacks[-1]] if len(attacks) > 1 else attacks)


def called(ensemble: AutoAttack) -> str:
    """Return an AutoAttack's name, with all that may change its result."""
    return f"AutoAttack ({ensemble.version}{', fast search' if ensemble.search == 'fast' else ''})"
