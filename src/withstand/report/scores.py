"""What findings are read for: a probe's accuracy beside its control, an audit's fall from clean to attacked."""

from dataclasses import dataclass

from withstand.core.findings.finding import Finding, Interval, Measure
from withstand.report import wording
from withstand.report.folder import dig, number, text
from withstand.report.tables import SHARE

PROBES = ("knn", "linear", "naive-bayes", "centroid")
"""Probes in the order in which they speak for an encoder."""


def ends_of(measure: Measure) -> Interval | None:
    """Return the ends of a measure's interval, or of its spread; None where neither is known."""
    if measure.interval is None and measure.spread is not None:
        return measure.value - measure.spread, measure.value + measure.spread
    return measure.interval


@dataclass(frozen=True)
class Score:
    """What a probe is read for: an accuracy, the untrained control's, and what training brought.

    `what` says which share it is, where that is no accuracy: "recall at 20".
    """

    name: str
    accuracy: Measure
    what: str = "accuracy"

    @property
    def untrained(self) -> Measure | None:
        """The control's accuracy."""
        return self.accuracy.control

    @property
    def control_name(self) -> str:
        """What the control is, in a word or two."""
        return self.accuracy.control_name

    @property
    def gain(self) -> float | None:
        """What training brought."""
        return None if self.untrained is None else self.accuracy.value - self.untrained.value

    @property
    def clear(self) -> bool:
        """Whether the gain's interval lies above 0; without one, whether the two intervals are apart."""
        if self.gain is None or self.untrained is None:
            return False
        if self.accuracy.gain is not None:
            return self.accuracy.gain[0] > 0
        return self.gain > _half(self.accuracy) + _half(self.untrained)


def _half(measure: Measure) -> float:
    ends = ends_of(measure)
    return 0.0 if ends is None else (ends[1] - ends[0]) / 2


@dataclass(frozen=True)
class Strength:
    """What an attack does at the headline's ball: to accuracy, or, without labels, to the codes.

    Attributes:
        ball: norm and radius in words.
        clean: accuracy without an attack, or the share of codes confused by noise of the same size.
        attacked: accuracy under attack, or the share of codes that become another sample's.
        of_codes: which of the two it is.
        samples: how many samples it rests on; None where an older finding does not say.
        attack: what was run; "" where an older finding does not say.
        access: what it was given of the network.
        standing: "believable", "not believable", "not judged" or "an upper bound by PGD-3"; "" in older findings, whose
            checks alone speak.
    """

    ball: str
    clean: float
    attacked: Measure
    of_codes: bool = False
    samples: int | None = None
    attack: str = ""
    access: str = ""
    standing: str = ""

    @property
    def bounded(self) -> bool:
        """Whether the number is a bound by a quick look, and no more."""
        return " bound by " in self.standing


def score(finding: Finding) -> Score | None:
    """Return a probe's headline, or None when the finding has none that is a share."""
    headline = None if finding.headline is None else finding.figures[finding.headline]
    if headline is None or finding.headline is None or headline.unit != SHARE:
        return None
    known = finding.name in PROBES or "accuracy" in finding.headline
    return Score(finding.name, headline, "accuracy" if known else finding.headline)


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
    """Return an audit's headline, or None when it holds none: an attack that found no gradients has no number."""
    told = dig(audit.protocol, "headline")
    clean = audit.figures.get(text(told, "against"))
    if audit.headline is None or clean is None:
        return None
    attacked, samples = audit.figures[audit.headline], number(told, "samples") or number(audit.protocol, "samples")
    return Strength(
        ball=wording.ball(text(told, "ball")),
        clean=clean.value,
        attacked=attacked,
        of_codes=attacked.better == "lower",
        samples=None if samples is None else int(samples),
        attack=text(told, "attack"),
        access=text(told, "access"),
        standing=text(told, "standing"),
    )
