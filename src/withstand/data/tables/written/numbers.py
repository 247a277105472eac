"""Numbers as people write them: 4.603,69 or 4,603.69 or 4 603,69, with a currency or percent sign, in parentheses.

A mark that stands once before three digits, as in 1.234, may part decimals or thousands: one number does not tell, a
column may, and so may its neighbours.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

_CURRENCY = (
    r"(?:US|CA|AU|NZ|HK|R|A|C)?\$|[€£¥₹₽₺₩₪₫₴₦฿]|EUR|USD|GBP|CHF|JPY|CNY|SEK|NOK|DKK|PLN|CZK|HUF|RUB|INR|BRL|"
    r"kr\.?|zł|Kč|Ft|Fr\."
)
_SPACES = r" \u00a0\u2009\u202f"
"""Between thousands and before signs: plain, unbroken, thin, narrow."""
_NUMBER = re.compile(
    rf"(?P<open>\()?(?P<sign>[+\-−])?[{_SPACES}]*(?P<before>{_CURRENCY})?[{_SPACES}]*(?P<inner>[\-−])?"
    rf"(?P<body>[\d.,'’{_SPACES}]*[\d.,](?:[eE][+-]?\d+)?)"
    rf"[{_SPACES}]*(?P<after>{_CURRENCY}|[%‰])?(?P<behind>[\-−])?(?P<close>\))?",
    re.ASCII,
)
_THOUSANDS = r"[1-9]\d{0,2}"
_BODIES = {
    "plain": r"\d+",
    "maybe .": rf"{_THOUSANDS}\.\d{{3}}",
    "maybe ,": rf"{_THOUSANDS},\d{{3}}",
    # Thousands by one mark say that the other is of decimals.
    ".": (
        rf"{_THOUSANDS}(?:,\d{{3}})+\.\d*|{_THOUSANDS}(?:,\d{{3}}){{2,}}"
        r"|(?:\d+\.\d*|\.\d+)(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+"
    ),
    ",": rf"{_THOUSANDS}(?:\.\d{{3}})+,\d*|{_THOUSANDS}(?:\.\d{{3}}){{2,}}|(?:\d+,\d*|,\d+)(?:[eE][+-]?\d+)?",
    "spaced .": rf"{_THOUSANDS}(?P<p>['’{_SPACES}])\d{{3}}(?:(?P=p)\d{{3}})*\.\d+",
    "spaced ,": rf"{_THOUSANDS}(?P<c>['’{_SPACES}])\d{{3}}(?:(?P=c)\d{{3}})*,\d+",
    "spaced": rf"{_THOUSANDS}(?P<s>['’{_SPACES}])\d{{3}}(?:(?P=s)\d{{3}})*",
}
_KINDS = [(kind, re.compile(pattern, re.ASCII)) for kind, pattern in _BODIES.items()]
_CODE = re.compile(r"0\d")
_ADDRESS = re.compile(r"(?:\d{1,3}\.){3}\d{1,3}", re.ASCII)
PERCENT = ("%", "‰")


@dataclass
class Look:
    """What a column's texts show of how they write numbers.

    Attributes:
        kinds: the forms that occur, as named above.
        signs: the currency and percent signs.
        bare: some numbers have none.
        grouped: what parts thousands, as far as it is certain.
    """

    kinds: set[str] = field(default_factory=set)
    signs: set[str] = field(default_factory=set)
    bare: bool = False
    grouped: set[str] = field(default_factory=set)

    @property
    def points(self) -> bool:
        """Some mark is a decimal point beyond doubt."""
        return bool(self.kinds & {".", "spaced ."})

    @property
    def commas(self) -> bool:
        """Some mark is a decimal comma beyond doubt."""
        return bool(self.kinds & {",", "spaced ,"})

    @property
    def open(self) -> str:
        """The mark that alone leaves it open what it parts; "" where none does."""
        if self.points or self.commas or {"maybe .", "maybe ,"} <= self.kinds:
            return ""
        return "." if "maybe ." in self.kinds else "," if "maybe ," in self.kinds else ""

    @property
    def doubt(self) -> str:
        """Why the column can be no numbers, though each text is one; "" where it can."""
        if self.points and self.commas:
            return "both points and commas stand before its decimals"
        if len(self.signs) > 1:
            return f"its numbers have several signs ({', '.join(sorted(self.signs))})"
        if self.bare and self.signs & set(PERCENT):
            return f"some of its numbers have {next(iter(self.signs))} and some have none"
        if {"maybe .", "maybe ,"} <= self.kinds and not (self.points or self.commas):
            return "its marks may be decimals or thousands"
        return ""


def look(texts: Iterable[str]) -> Look | None:
    """Return what texts show of how they write numbers; None where one is no number, or a code such as 007.

    Args:
        texts: without whitespace around them, none of them missing.
    """
    found = Look()
    for text in texts:
        taken = _taken(text)
        if taken is None:
            return None
        body, sign, _ = taken
        kind = next((kind for kind, pattern in _KINDS if pattern.fullmatch(body)), None)
        if kind is None or _CODE.match(body) or _ADDRESS.fullmatch(text):  # 192.168.178.101 is a machine
            return None
        found.kinds.add(kind)
        if sign:
            found.signs.add(sign)
        else:
            found.bare = True
        if kind.startswith("spaced"):
            found.grouped.add("apostrophes" if body.lstrip("0123456789")[0] in "'’" else "spaces")
        elif kind == "." and "," in body:
            found.grouped.add("commas")
        elif kind == "," and "." in body:
            found.grouped.add("points")
    return found


def numbers(texts: Iterable[str], decimal: str, read: Callable[[str], float | None]) -> list[float | None]:
    """Return the numbers that texts write; None for one that `read` refuses.

    Args:
        texts: as `look` took them.
        decimal: the mark before decimals: the other one parts thousands.
        read: a plain number's value: digits, perhaps a point among them, perhaps a sign before.
    """
    other = "," if decimal == "." else "."
    drop = str.maketrans({decimal: ".", other: None} | dict.fromkeys("'’ \u00a0\u2009\u202f"))
    found: list[float | None] = []
    for text in texts:
        taken = _taken(text)
        found.append(None if taken is None else read(("-" if taken[2] else "") + taken[0].translate(drop)))
    return found


def _taken(text: str) -> tuple[str, str, bool] | None:
    """Return a number's digits and marks, its sign of currency or percent, and whether it is below 0."""
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    part = match.groupdict()
    minus = [part[name] for name in ("sign", "inner", "behind") if part[name]]
    round_brackets = bool(part["open"]), bool(part["close"])
    if len(minus) > 1 or round_brackets[0] != round_brackets[1] or (minus and round_brackets[0]):
        return None
    if part["before"] and part["after"]:
        return None
    return part["body"], part["before"] or part["after"] or "", round_brackets[0] or minus in (["-"], ["−"])
