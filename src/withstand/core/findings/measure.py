"""Measure: a figure with all that is needed to read it."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Literal, TypeAlias, TypeGuard

from withstand.core.part import Tree

Better: TypeAlias = Literal["higher", "lower"] | None
"""Which way is better; None where neither is."""
Interval: TypeAlias = tuple[float, float]
UNTRAINED = "untrained"
"""What a control is called that does not say what it is: one of the same kind that learnt nothing."""
BEFORE = "before tuning"
"""What a control is called that had learnt before, and was not tuned."""


@dataclass(frozen=True)
class Measure:
    """A figure with all that is needed to read it.

    In JSON it is an object of these fields, without those that are None; intervals are lists of two numbers.

    Attributes:
        value: the figure.
        unit: "share" of samples, or a difference of shares, shown in percent; else what it counts or is measured in:
            "count", "seconds", "radius" (in input units), "nats", "cosine", "ratio" and the like; "" where an earlier
            version's finding does not say.
        better: whether "higher" or "lower" is better; None where neither is.
        spread: standard deviation over the `of` repeats.
        interval: both ends of the 95 % interval.
        of: how many samples or repeats it rests on.
        control: the same figure of a control, as of an untrained encoder of the same kind.
        gain: both ends of the 95 % interval of value less control, from samples that both were judged on.
        chance: what always naming the most frequent class reaches.
        called: of a control's figure, what the control is: "untrained" where nothing is said, "before tuning".
    """

    value: float
    unit: str
    better: Better
    _: KW_ONLY
    spread: float | None = None
    interval: Interval | None = None
    of: int | None = None
    control: "Measure | None" = None
    gain: Interval | None = None
    chance: float | None = None
    called: str = ""

    def __post_init__(self) -> None:
        if not _is_better(self.better):
            raise ValueError(f"better is 'higher', 'lower' or None, not {self.better!r}")
        for name in ("interval", "gain"):
            ends = getattr(self, name)
            if ends is not None and (len(ends) != 2 or ends[0] > ends[1]):
                raise ValueError(f"{name} is (low, high), not {ends!r}")
        if self.spread is not None and self.spread < 0:
            raise ValueError(f"spread is a standard deviation, not {self.spread!r}")

    def __str__(self) -> str:
        """Return it in words, with its interval or spread, and the control's."""
        words = _digits(self.value)
        if self.interval is not None:
            words += f" [{_digits(self.interval[0])}, {_digits(self.interval[1])}]"
        elif self.spread is not None:
            words += f" ± {_digits(self.spread)}"
        return words if self.control is None else f"{words}, {self.control_name} {self.control}"

    @property
    def control_name(self) -> str:
        """What the control is, in a word or two: "untrained" unless it says another."""
        return (self.control.called if self.control is not None else "") or UNTRAINED

    def record(self) -> dict[str, Tree]:
        """Return it as an object of JSON."""
        found: dict[str, Tree] = {"value": self.value, "unit": self.unit, "better": self.better}
        found |= {"spread": self.spread, "of": self.of, "chance": self.chance}
        found |= {name: list(ends) for name in ("interval", "gain") if (ends := getattr(self, name)) is not None}
        if self.control is not None:
            found["control"] = self.control.record()
        if self.called:
            found["called"] = self.called
        return {name: value for name, value in found.items() if value is not None}

    @classmethod
    def of_record(cls, record: Mapping[str, Tree]) -> "Measure":
        """Return the measure that `record` gave.

        Raises:
            ValueError: a field is none of a measure's, or holds what it cannot.
            KeyError: there is no value or no unit.
        """
        given = dict(record)
        value, unit, better = given.pop("value"), given.pop("unit"), given.pop("better", None)
        control, of, called = given.pop("control", None), given.pop("of", None), given.pop("called", "")
        interval, gain = (_ends(name, given.pop(name, None)) for name in ("interval", "gain"))
        spread, chance = (_number(name, given.pop(name, None)) for name in ("spread", "chance"))
        found = _number("value", value)
        if given or found is None or not isinstance(unit, str) or not isinstance(of, int | None):
            raise ValueError(f"{dict(record)} is no measure")
        if not isinstance(called, str):
            raise ValueError(f"{dict(record)} is no measure")
        if not _is_better(better) or not isinstance(control, dict | None):
            raise ValueError(f"{dict(record)} is no measure")
        return cls(
            found,
            unit,
            better,
            spread=spread,
            interval=interval,
            of=of,
            control=None if control is None else cls.of_record(control),
            gain=gain,
            chance=chance,
            called=called,
        )


def _number(name: str, value: Tree) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | None):
        raise ValueError(f"{name} is no number: {value!r}")
    return value


def _ends(name: str, value: Tree) -> Interval | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError(f"{name} is no pair of numbers: {value!r}")
    low, high = (_number(name, end) for end in value)
    if low is None or high is None:
        raise ValueError(f"{name} is no pair of numbers: {value!r}")
    return low, high


def number(cell: object) -> float:
    """Return a cell of a table, or a value of JSON, as the number that it is.

    Raises:
        ValueError: it is none.
    """
    if isinstance(cell, bool) or not isinstance(cell, int | float):
        raise ValueError(f"{cell!r} is no number")
    return float(cell)


def _is_better(value: object) -> TypeGuard[Better]:
    return value in ("higher", "lower", None)


def _digits(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 100 else f"{value:,.0f}"
