"""Which columns of a device's table say when, which say what went on, and which are readings, by their names."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from withstand.core.errors import DataError
from withstand.data.tables.frame import Values, Words, number

TIMES = ("time", "timestamp", "t", "seconds", "datetime", "date", "elapsed", "epoch")
"""Words that a column of times is called by, in any case, with a unit or without: `t_us`, `Time (s)`, `time_ms`."""
LABELS = ("label", "activity", "class", "y")
"""Names of a column that says what went on; `y` is an axis where numbers stand in it and `x` or `z` is beside it."""
_SECONDS = {
    1.0: ("s", "sec", "secs", "second", "seconds"),
    1e-3: ("ms", "msec", "msecs", "millis", "millisecond", "milliseconds"),
    1e-6: ("us", "µs", "μs", "usec", "usecs", "micros", "microsecond", "microseconds"),
    1e-9: ("ns", "nsec", "nsecs", "nanos", "nanosecond", "nanoseconds"),
    60.0: ("min", "mins", "minute", "minutes"),
    3600.0: ("h", "hr", "hrs", "hour", "hours"),
}
_UNITS = {word: seconds for seconds, words in _SECONDS.items() for word in words}
_BESIDE = ("elapsed", "since", "start", "unix", "utc", "epoch", "timestamp", "time", "relative", "in")
_SURELY = ("time", "times", "timestamp", "timestamps", "datetime", "elapsed", "epoch")
_DIGITS = re.compile(r"\d{15,19}")


@dataclass(frozen=True)
class Roles:
    """What the columns of a table are.

    Attributes:
        time: the column that says when; None without.
        label: the one that says what went on; None without.
        channels: the readings.
        notes: what had to be decided, in words.
        skipped: (column, reason) of those that are left out.
    """

    time: str | None
    label: str | None
    channels: tuple[str, ...]
    notes: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()


def unit_of(name: str) -> float | None:
    """Return the seconds of the unit that the name of a column of times says, 0 where it says none; None of another.

    >>> unit_of("Time (s)"), unit_of("t_us"), unit_of("timestamp"), unit_of("time_of_day")
    (1.0, 1e-06, 0.0, None)
    """
    words = _parts(name)
    units = [word for word in words if word in _UNITS]
    rest = [word for word in words if word not in _UNITS]
    if len(units) > 1 or any(word not in (*TIMES, *_SURELY, *_BESIDE) for word in rest):
        return None
    if not rest:
        return 1.0 if words == ["seconds"] else None
    if rest[0] not in (*TIMES, *_SURELY) or (
        rest == ["t"] and any(_UNITS[unit] > 1 for unit in units)
    ):  # t_min is no time
        return None
    return _UNITS[units[0]] if units else 0.0


def roles_of(columns: Mapping[str, Values], where: str) -> Roles:
    """Return what the columns of a device's table are.

    Args:
        columns: by name.
        where: what the table is called in messages.

    Raises:
        DataError: no readings; a column that may be of times and is not known to be; a day and its hour in two columns.
    """
    skipped: list[tuple[str, str]] = []
    notes: list[str] = []
    time = _time(columns, where, skipped)
    beside = {name.strip().lower() for name, values in columns.items() if not isinstance(values, Words)}
    label: str | None = None
    channels: list[str] = []
    gone = {name for name, _ in skipped}
    unnamed = [name == f"column {place}" for place, name in enumerate(columns, 1)]
    for (name, values), bare in zip(columns.items(), unnamed, strict=True):
        word = name.strip().lower()
        axis = word == "y" and bool(beside & {"x", "z"}) and _holds_numbers(values)
        if name == time or name in gone:
            continue
        if word in LABELS and not axis:
            if label is None:
                label = name
            else:
                skipped.append((name, f"another column of labels beside {label!r}"))
            continue
        if axis:
            notes.append("column 'y' is taken as an axis, for 'x' or 'z' is beside it: call labels label")
        if isinstance(values, Words):
            skipped.append((name, "words, and a sensor gives numbers"))
        elif bare and not all(unnamed):
            skipped.append((name, "has no name, as numbers of rows have none"))
        else:
            channels.append(name)
    if not channels:
        raise DataError(f"{where} has no column of readings: numbers beside the time are needed")
    told = tuple((f"column {name!r}", why) for name, why in skipped)
    return Roles(time, label, tuple(channels), tuple(notes), told)


def _holds_numbers(values: Values) -> bool:
    return not isinstance(values, Words) or any(number(name) is not None for name in values.names)


def whole_numbers_in(values: Values) -> bool:
    """Say whether these are whole numbers of so many digits that they were left as words, as nanoseconds since 1970."""
    return isinstance(values, Words) and all(_DIGITS.fullmatch(name) for name in values.names)


def _time(columns: Mapping[str, Values], where: str, skipped: list[tuple[str, str]]) -> str | None:
    """Return the column of times; the others that may be some are left out."""
    known = [name for name in columns if unit_of(name) is not None]
    doubtful = [name for name in columns if name not in known and (_parts(name) or [""])[0] in _SURELY]
    doubtful = [name for name in doubtful if not isinstance(columns[name], Words)]
    usable = [name for name in known if not isinstance(columns[name], Words) or whole_numbers_in(columns[name])]
    if not known and doubtful:
        raise DataError(
            f"{where}: column {doubtful[0]!r} may say when readings were taken: call it time, with its unit behind it "
            "(time_ms), or leave it out"
        )
    hours = [name for name in known if name not in usable]
    if usable and hours and _parts(usable[0]) == ["date"]:
        raise DataError(
            f"{where}: columns {usable[0]!r} and {hours[0]!r} say together when: join them in one, as in "
            "2024-12-31 10:30:00"
        )
    chosen = next(iter([*usable, *known]), None)
    skipped += [(name, f"another column of times beside {chosen!r}") for name in (*known, *doubtful) if name != chosen]
    return chosen


def _parts(name: str) -> list[str]:
    return re.findall(r"[^\W\d_]+|\d+", name.strip().lower())
