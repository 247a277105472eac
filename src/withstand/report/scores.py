"""What a finding's headline is: a probe's accuracy beside its control, an audit's fall from clean to attacked."""

from dataclasses import dataclass

from withstand.core.finding import Finding
from withstand.report import wording
from withstand.report.folder import number, text
from withstand.report.tables import around, is_around

PROBES = ("knn", "linear", "naive-bayes", "centroid")
"""Probes in the order in which they speak for an encoder."""

_HEADLINES = (
    ("clean accuracy", "robust accuracy", False),
    ("share nearer to another sample under noise", "share nearer to another sample under attack", True),
)

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
    """

    ball: str
    clean: float
    attacked: float
    of_codes: bool = False


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
    eps = number(audit.protocol, "ball", "eps")
    if eps is None:
        return None
    ball = wording.ball(text(audit.protocol, "ball", "norm"), eps)
    for clean_words, attacked_words, of_codes in _HEADLINES:
        clean, attacked = (_first(audit, words) for words in (clean_words, attacked_words))
        if clean is not None and attacked is not None:
            return Strength(ball, clean, attacked, of_codes)
    return None


def _first(finding: Finding, words: str) -> float | None:
    return next(
        (
            value
            for key, value in finding.numbers.items()
            if key.startswith(words) and not is_around(key, finding.numbers)
        ),
        None,
    )
