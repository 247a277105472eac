"""What a finding's headline is: a probe's accuracy beside its control, an audit's fall from clean to attacked."""

from dataclasses import dataclass

from withstand.core.finding import Finding
from withstand.report import wording
from withstand.report.folder import dig, number, text
from withstand.report.tables import around, is_around

PROBES = ("knn", "linear", "naive-bayes", "centroid")
"""Probes in the order in which they speak for an encoder."""

Interval = tuple[float, float]


@dataclass(frozen=True)
class Measured:
    """A number with its interval, where one is stored."""

    value: float
    interval: Interval | None = None

    @property
    def spread(self) -> float | None:
        """Half the interval's width."""
        return None if self.interval is None else (self.interval[1] - self.interval[0]) / 2


@dataclass(frozen=True)
class Score:
    """A probe's accuracy, the untrained control's, what training brought, and what guessing would reach.

    `tabled` says that the finding's table "accuracy" holds no more than this.
    """

    name: str
    accuracy: Measured
    untrained: Measured | None
    gain: Measured | None
    guess: float | None
    tabled: bool

    @property
    def clear(self) -> bool:
        """Whether the gain's interval lies above 0; without one, whether the two intervals are apart."""
        if self.gain is None or self.untrained is None:
            return False
        if self.gain.interval is not None:
            return self.gain.interval[0] > 0
        return self.gain.value > (self.accuracy.spread or 0.0) + (self.untrained.spread or 0.0)


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
    attacked: Measured
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
    """Return a probe's headline, or None when the finding holds no accuracy.

    Intervals stand beside the numbers, or in a table with the columns subject, accuracy, low and high.
    """
    named = [key for key in finding.numbers if "accuracy" in key and not is_around(key, finding.numbers)]
    controls = [key for key in named if "untrained" in key]
    own = [key for key in named if key not in controls]
    if not own:
        return None
    rows = _subjects(finding)
    key = "accuracy" if "accuracy" in own else own[0]
    accuracy = _measured(finding, key, rows.get("encoder"))
    beside = next((row for name, row in rows.items() if "untrained" in name), None)
    untrained = _measured(finding, controls[0], beside) if controls else None
    gain = None
    if untrained is not None:
        difference = rows.get("encoder less control")
        gain = Measured(accuracy.value - untrained.value, difference.interval if difference else None)
    guess = next((row.value for name, row in rows.items() if "most frequent class" in name), None)
    return Score(finding.name, accuracy, untrained, gain, guess, bool(rows))


def _subjects(finding: Finding) -> dict[str, Measured]:
    table = finding.tables.get("accuracy")
    if table is None or table.columns != ("subject", "accuracy", "low", "high"):
        return {}
    return {
        str(name): Measured(float(value), (float(low), float(high)))
        for name, value, low, high in table.rows
        if isinstance(value, int | float) and isinstance(low, int | float) and isinstance(high, int | float)
    }


def _measured(finding: Finding, key: str, row: Measured | None) -> Measured:
    value, beside = finding.numbers[key], around(key, finding.numbers)
    if row is not None:
        return Measured(value, row.interval)
    return Measured(value, beside if isinstance(beside, tuple) or beside is None else within(value, beside))


def within(value: float, spread: float) -> Interval:
    """Return the interval of a share with an even spread, as older findings hold it, cut where no share can be."""
    return max(value - spread, 0.0 if value >= 0 else -1.0), min(value + spread, 1.0)


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
    of_codes = not any(key.startswith("clean accuracy") for key in audit.numbers)
    clean = _first(audit, "share nearer to another sample under noise" if of_codes else "clean accuracy")
    headline = dig(audit.protocol, "headline")
    name = text(headline, "number") or _older(audit, of_codes=of_codes)
    if clean is None or name not in audit.numbers:
        return None
    samples = number(headline, "samples") or number(audit.protocol, "samples")
    standing = text(headline, "standing")
    if not standing and "AutoAttack" in audit.protocol and audit.protocol["AutoAttack"] is None:
        standing = "an upper bound by gradient steps"  # an older finding without the attacks that decide
    return Strength(
        ball=wording.title(name.rpartition(", ")[2]),
        clean=clean,
        attacked=_measured(audit, name, None),
        of_codes=of_codes,
        samples=None if samples is None else int(samples),
        attack=text(headline, "attack"),
        access=text(headline, "access"),
        standing=standing,
    )


def _older(audit: Finding, *, of_codes: bool) -> str:
    """Return the name of the headline of a finding that does not name it."""
    words = "share nearer to another sample under attack" if of_codes else "robust accuracy"
    return next((key for key in audit.numbers if key.startswith(words)), "")


def _first(finding: Finding, words: str) -> float | None:
    return next((value for key, value in finding.numbers.items() if key.startswith(words)), None)
