"""Numbers and names as a reader wants them: 80.0 %, 8/255, 51 s, 10,000."""

import math
import shlex
from collections.abc import Sequence
from typing import TypeAlias

from withstand.core.findings.norms import norms as norms

NBSP = "\u00a0"

Around: TypeAlias = float | tuple[float, float] | None
"""What is known of how far off a number may be: a spread to both sides, or both ends of an interval."""

_TITLES = {
    "knn": "kNN",
    "linear": "Linear",
    "naive-bayes": "Naive Bayes",
    "centroid": "Nearest centroid",
    "few-shot": "Few labels",
    "eps": "eps",
}


def title(name: str) -> str:
    """Return a name as a heading: known names as the field writes them, others with the first letter raised."""
    head, comma, rest = name.partition(", ")
    if head in _TITLES:
        return _TITLES[head] + comma + rest
    name = norms(name)
    words = name.replace("_", " ").strip()
    words = words.replace("-", " ") if " " not in words else words
    first = words.partition(" ")[0]
    return words[:1].upper() + words[1:] if first.islower() else words


def distinct(labels: Sequence[str]) -> list[str]:
    """Return labels of which none is another's: an axis draws what is called alike at one place.

    >>> distinct(["head", "block", "head"])
    ['head', 'block', 'head (2)']
    """
    seen: dict[str, int] = {}
    told = []
    for label in labels:
        seen[label] = seen.get(label, 0) + 1
        told.append(label if seen[label] == 1 else f"{label} ({seen[label]})")
    return told


def distinct_numbers(values: Sequence[float]) -> list[str]:
    """Return numbers in as few digits, four or more, as tell them apart.

    >>> distinct_numbers([0.1, 1.00001, 1.00002])
    ['0.1', '1.00001', '1.00002']
    """
    for digits in range(4, 18):
        told = [plain(value, digits) for value in values]
        if len(set(told)) == len(set(values)):
            return told
    return told


def percent(value: float, around: Around = None) -> str:
    """Return a share in percent, with its spread or the ends of its interval where there are such.

    >>> percent(0.8).replace(NBSP, " "), percent(0.8, 0.01).replace(NBSP, " ")
    ('80.0 %', '80.0 ± 1.0 %')
    >>> percent(0.0, (0.0, 0.088)).replace(NBSP, " ")
    '0.0 % [0.0, 8.8]'
    """
    if not math.isfinite(value):
        return "not a number"
    words = f"{100 * value:.1f}{NBSP}%"
    if around is None:
        return words
    if isinstance(around, tuple):
        low, high = around
        return f"{words} [{100 * low:.1f},{NBSP}{100 * high:.1f}]"
    return f"{100 * value:.1f}{NBSP}±{NBSP}{100 * around:.1f}{NBSP}%" if math.isfinite(around) else words


def range_of(interval: tuple[float, float]) -> str:
    """Return the ends of a share's interval.

    >>> range_of((0.0, 0.088)).replace(NBSP, " ")
    '0.0 to 8.8 %'
    """
    return f"{100 * interval[0]:.1f}{NBSP}to{NBSP}{100 * interval[1]:.1f}{NBSP}%"


def measured(value: float, around: Around = None) -> str:
    """Return a number that is no share, with its spread or the ends of its interval.

    >>> measured(0.5, 0.25), measured(0.5, (0.1, 0.8)).replace(NBSP, " ")
    ('0.5 ± 0.25', '0.5 [0.1, 0.8]')
    """
    words = plain(value)
    if around is None:
        return words
    if isinstance(around, tuple):
        return f"{words} [{plain(around[0])},{NBSP}{plain(around[1])}]"
    return f"{words} ± {plain(around)}" if math.isfinite(around) else words


def points(value: float) -> str:
    """Return a difference of shares in percentage points, signed.

    >>> points(0.089)
    '+8.9'
    """
    return f"{100 * value:+.1f}".replace("-", "−")


def plain(value: float, digits: int = 4) -> str:
    """Return a number in few digits: counts with separators, others with four significant digits.

    >>> plain(12345), plain(0.123456), plain(1e-7)
    ('12,345', '0.1235', '1e−07')
    """
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else "∞" if value > 0 else "−∞"
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}".replace("-", "−")
    return (f"{value:,.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}").replace("-", "−")


def eps_over_255(eps: float) -> str:
    """Return k/255, k to three digits.

    >>> eps_over_255(8 / 255)
    '8/255'
    """
    return f"{eps * 255:.3g}/255"


def eps(value: float) -> str:
    """Return a perturbation's size in input units and as k/255."""
    return "0" if value == 0 else f"{eps_over_255(value)} = {value:.3g}"


def duration(seconds: float) -> str:
    """Return a span of time in one or two units.

    >>> [duration(seconds).replace(NBSP, " ") for seconds in (3.14, 51.2, 125, 7330, 90000)]
    ['3.1 s', '51 s', '2 min 5 s', '2 h 2 min', '1 d 1 h']
    """
    whole = round(seconds)
    if seconds < 10:
        words = f"{seconds:.1f} s"
    elif whole < 60:
        words = f"{whole} s"
    elif whole < 3600:
        words = f"{whole // 60} min {whole % 60} s"
    elif whole < 86400:
        words = f"{whole // 3600} h {whole % 3600 // 60} min"
    else:
        words = f"{whole // 86400} d {whole % 86400 // 3600} h"
    return words.replace(" ", NBSP)


def ball(words: str) -> str:
    """Return a ball's name, norm and radius, in one piece.

    >>> ball("linf 8/255").replace(NBSP, " "), ball("l2 0.5").replace(NBSP, " "), ball("4/255")
    ('Linf 8/255', 'L2 0.5', '4/255')
    """
    return norms(words).replace(" ", NBSP)


def article(noun: str) -> str:
    """Return "A" or "An", as the noun is spoken: acronyms by letters.

    >>> article("DCL"), article("MAE"), article("SimCLR"), article("Adversarial")
    ('A', 'An', 'A', 'An')
    """
    if noun[:2].isupper() and len(noun) > 1:
        return "An" if noun[0] in "AEFHILMNORSX" else "A"
    return "An" if noun[:1].lower() in "aeiou" else "A"


def typed(word: str) -> str:
    """Return a word as it is typed in a shell."""
    return shlex.quote(word)


def counted(count: int, noun: str) -> str:
    """Return "1 check" or "3 checks"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
