"""Dates as people write them: 31.12.2024, 12/31/2024, 2024-12-31, perhaps with a time.

01/02/2024 is 1 February or January 2: a column tells which by a day above 12, or a neighbour's, or nobody does.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

_DATE = re.compile(
    r"(?P<a>\d{1,4})(?P<mark>[./-])(?P<b>\d{1,2})(?P=mark)(?P<c>\d{1,4})"
    r"(?:(?:,? +|T)(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<part>\d{1,9}))?)?"
    r"(?: ?(?P<half>[AaPp])\.?[Mm]\.?)?)?"
    r" ?(?P<zone>Z|[+-]\d{2}:?\d{2})?",
    re.ASCII,
)
_PLACES = {"dmy": ("c", "b", "a"), "mdy": ("c", "a", "b"), "ymd": ("a", "b", "c")}
SHOWN = {"dmy": "dd{0}mm{0}yyyy", "mdy": "mm{0}dd{0}yyyy", "ymd": "yyyy{0}mm{0}dd"}
"""Orders as people write them."""


@dataclass
class Look:
    """What a column's texts show of how they write dates.

    Attributes:
        orders: those that every date allows.
        mark: what stands between day, month and year.
        short: years have two digits, so that nothing but what is said tells the order.
    """

    orders: set[str] = field(default_factory=lambda: {"dmy", "mdy", "ymd"})
    mark: str = ""
    short: bool = False

    @property
    def order(self) -> str:
        """The order, where the column tells it; points stand in dates whose day comes first. "" where it is open."""
        if len(self.orders) == 1:
            return next(iter(self.orders)) if not self.short else ""
        return "dmy" if self.mark == "." and not self.short and "dmy" in self.orders else ""


def look(texts: Iterable[str]) -> Look | None:
    """Return what texts show of how they write dates; None where one is no date, or they are of two makes.

    Args:
        texts: without whitespace around them, none of them missing.
    """
    found, makes = Look(), set()
    for text in texts:
        match = _DATE.fullmatch(text)
        if match is None:
            return None
        first, third = len(match["a"]), len(match["c"])
        if first == 3 or third == 3 or (first == 4 and third > 2):
            return None
        found.orders &= {"ymd"} if first == 4 else {"dmy", "mdy"} if third == 4 else {"dmy", "mdy", "ymd"}
        if int(match["a"]) > 12 and first < 3:
            found.orders.discard("mdy")
        if int(match["b"]) > 12:
            found.orders -= {"dmy", "ymd"}
        found.mark, found.short = match["mark"], max(first, third) < 3
        makes.add((found.mark, found.short, match["zone"] is not None))
        if len(makes) > 1:
            return None
    return found if makes else None


def moments(texts: Sequence[str], order: str) -> npt.NDArray[np.float64] | None:
    """Return dates in seconds since 1970, to the microsecond; None where one is no day of any calendar.

    Args:
        texts: as `look` took them.
        order: of day, month and year; two digits of a year are 1969 to 2068.
    """
    found, zones = [], []
    for text in texts:
        match = _DATE.fullmatch(text)
        if match is None:
            return None
        year, month, day = (match[place] for place in _PLACES[order])
        if len(day) > 2:
            return None
        if len(year) <= 2:
            year = str(int(year) + (2000 if int(year) < 69 else 1900))
        hour = int(match["hour"] or 0)
        if match["half"]:
            if not 1 <= hour <= 12:
                return None
            hour = hour % 12 + 12 * (match["half"] in "Pp")
        time = f"{hour:02}:{match['minute'] or '00'}:{match['second'] or '00'}.{(match['part'] or '0')[:6]}"
        found.append(f"{year}-{int(month):02}-{int(day):02}T{time}")
        zones.append(_offset(match["zone"]))
    try:
        read = np.array(found, dtype="datetime64[us]")
    except ValueError:  # 30 February
        return None
    seconds: npt.NDArray[np.float64] = read.astype(np.int64) / 1e6 - np.array(zones, np.float64)
    return seconds


def _offset(zone: str | None) -> int:
    """Return a zone's seconds east of Greenwich."""
    if zone in (None, "Z"):
        return 0
    assert zone is not None
    sign = -1 if zone[0] == "-" else 1
    return sign * (int(zone[1:3]) * 3600 + int(zone[-2:]) * 60)
