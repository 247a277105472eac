"""Numbers and names as a reader wants them: 80.0 %, 8/255, 51 s, 10,000."""

import math

NBSP = "\u00a0"

_SHARES = ("accuracy", "untrained", "trained", "share", "recall", "precision", "f1", "auc", "success", "robust")
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
    if name in _TITLES:
        return _TITLES[name]
    words = name.replace("_", " ").replace("-", " ").strip()
    return words[:1].upper() + words[1:]


def is_share(name: str, values: list[float]) -> bool:
    """Whether numbers of this name are shares in [0, 1], to be shown in percent."""
    lowered = name.lower()
    named = any(word in lowered for word in _SHARES)
    return named and all(0 <= value <= 1 for value in values if math.isfinite(value))


def percent(value: float, spread: float | None = None) -> str:
    """Return a share in percent, with its spread where there is one.

    >>> percent(0.8).replace(NBSP, " "), percent(0.8, 0.01).replace(NBSP, " ")
    ('80.0 %', '80.0 ± 1.0 %')
    """
    if not math.isfinite(value):
        return "not a number"
    around = f"{NBSP}±{NBSP}{100 * spread:.1f}" if spread is not None and math.isfinite(spread) else ""
    return f"{100 * value:.1f}{around}{NBSP}%"


def points(value: float) -> str:
    """Return a difference of shares in percentage points, signed.

    >>> points(0.089)
    '+8.9'
    """
    return f"{100 * value:+.1f}".replace("-", "−")


def plain(value: float) -> str:
    """Return a number in few digits: counts with separators, others with four significant digits.

    >>> plain(12345), plain(0.123456), plain(1e-7)
    ('12,345', '0.1235', '1e−07')
    """
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else "∞" if value > 0 else "−∞"
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}".replace("-", "−")
    return (f"{value:,.0f}" if abs(value) >= 10000 else f"{value:.4g}").replace("-", "−")


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

    >>> duration(51.2), duration(125), duration(7330)
    ('51 s', '2 min 5 s', '2 h 2 min')
    """
    whole = round(seconds)
    if seconds < 10:
        return f"{seconds:.1f} s"
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def article(noun: str) -> str:
    """Return "A" or "An", as the noun is spoken: acronyms by letters.

    >>> article("DCL"), article("MAE"), article("SimCLR"), article("Adversarial")
    ('A', 'An', 'A', 'An')
    """
    if noun[:2].isupper() and len(noun) > 1:
        return "An" if noun[0] in "AEFHILMNORSX" else "A"
    return "An" if noun[:1].lower() in "aeiou" else "A"


def counted(count: int, noun: str) -> str:
    """Return "1 check" or "3 checks"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
