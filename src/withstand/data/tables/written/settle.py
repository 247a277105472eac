"""From columns of texts to numbers and dates: what each column shows, what its neighbours show, what was said.

Nothing is guessed in silence: what is certain is read and noted, what is open stays words, and a note says why.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from withstand.data.tables.frame import Frame, Numbers, Values, Words, number, short
from withstand.data.tables.written import dates, numbers
from withstand.data.tables.written.reading import Reading, Written

_LOOKED_AT, _AT_MOST, _FEW = 200, 20_000, 256
"""Words of a column by which it is judged, through which the odd one is sought, and that are compared but for case."""


@dataclass
class Evidence:
    """What speaks for one mark before decimals, or one order of dates, in a table.

    Attributes:
        points: columns with decimal points beyond doubt.
        commas: columns with decimal commas beyond doubt.
        semicolons: semicolons separate fields, as they do where commas are decimal.
    """

    points: bool = False
    commas: bool = False
    semicolons: bool = False

    def mark(self, open_: str) -> str:
        """Return the mark before decimals where all that speaks says the same; "" where nothing does.

        Args:
            open_: the mark that may part decimals or thousands.
        """
        if self.commas or self.points:
            against = (self.commas and self.points) or (self.points and self.semicolons and open_ == ",")
            return "" if against else "," if self.commas else "."
        return "" if self.semicolons != (open_ == ",") else open_


@dataclass
class Settled:
    """Columns of texts that turned out to be numbers or dates.

    Attributes:
        values: those, by name.
        written: how they are written.
        notes: what is to be told.
    """

    values: dict[str, Numbers] = field(default_factory=dict)
    written: dict[str, Written] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def settled(frame: Frame, reading: Reading) -> Frame:
    """Return a frame whose texts are read as numbers and dates where they are some.

    Columns whose type says that they are categories, and those that are said to be words, stay as they are.
    """
    texts = {name: values for name, values in _texts(frame).items() if name not in reading.words}
    if not texts:
        return frame
    found = settle(texts, reading, Evidence())
    columns: dict[str, Values] = {name: found.values.get(name, frame.columns[name]) for name in frame.columns}
    return Frame(columns, frame.unread, {**frame.written, **found.written}, (*frame.notes, *found.notes))


def has_texts(frame: Frame) -> bool:
    """Say whether columns hold texts, whose marks and dates something may be said of."""
    return bool(_texts(frame))


def _texts(frame: Frame) -> dict[str, Words]:
    held = ((name, frame.columns[name]) for name in frame.columns)
    return {name: values for name, values in held if isinstance(values, Words) and not values.typed}


def settle(texts: Mapping[str, Words], reading: Reading, evidence: Evidence) -> Settled:
    """Return which columns of texts are numbers or dates, and how they are written.

    Args:
        texts: columns of words, without whitespace around them.
        reading: what is said, and what was learnt of columns with these names.
        evidence: what other columns of the table show.
    """
    found, told = Settled(), _Told()
    looks: dict[str, numbers.Look] = {}
    days: dict[str, dates.Look] = {}
    for name, words in texts.items():
        if not len(words.names):
            continue
        first = list(islice(_plain(words), 3))
        if numbers.look(first) is not None and (seen := numbers.look(_plain(words))) is not None:
            looks[name] = seen
        elif dates.look(first) is not None and (day := dates.look(_plain(words))) is not None:
            days[name] = day
        if name not in looks and name not in days:
            _doubt_words(name, words, told)
    evidence = Evidence(
        evidence.points or any(seen.points for seen in looks.values()),
        evidence.commas or any(seen.commas for seen in looks.values()),
        evidence.semicolons,
    )
    for name, seen in looks.items():
        mark = _mark(seen, name, reading, evidence, told)
        read = None if not mark else numbers.numbers(_plain(texts[name]), mark, number)
        if read is None:
            continue
        if None in read:
            told.doubt("a number would not keep all of its digits", name)
            continue
        values = np.array(read, np.float64)
        found.values[name] = _spread(values, texts[name])
        sign = next(iter(seen.signs), "")
        found.written[name] = Written(mark, sign=sign)
        told.number(name, seen, mark, sign)
    sure = {(day.mark, day.order) for day in days.values() if day.order and len(day.orders) == 1}
    for name, day in days.items():
        order = _order(day, name, reading, {order for mark, order in sure if mark == day.mark}, told)
        if not order:
            continue
        moments = dates.moments(list(_plain(texts[name])), order)
        if moments is None:
            told.doubt("one of its dates is in no calendar", name)
            continue
        found.values[name] = _spread(moments, texts[name])
        found.written[name] = Written(date=order)
        told.date(name, day.mark, order)
    found.notes = told.notes()
    return found


def _doubt_words(name: str, words: Words, told: "_Told") -> None:
    """Tell where most words of a column that stays words are numbers or dates, or differ by case alone."""
    count = len(words.names)
    some = [str(words.names[place]).strip() for place in range(0, count, max(1, count // _LOOKED_AT))]
    for what, reads in (("number", _is_number), ("date", _is_date)):
        if sum(map(reads, some)) * 2 <= len(some):
            continue
        odd = next((text for text in islice(_plain(words), _AT_MOST) if not reads(text) and not _is_code(text)), None)
        if odd is not None:
            told.doubt(f"{short(odd, 30)} is no {what} as most of its values are", name)
        elif what == "date":
            told.doubt("its dates are written in several ways", name)
        return
    if count <= _FEW:
        folded = [text.casefold() for text in _plain(words)]
        twice = next((one for one in folded if folded.count(one) > 1), None)
        if twice is not None:
            alike = [text for text, one in zip(_plain(words), folded, strict=True) if one == twice]
            told.alike(" and ".join(map(short, alike[:3])), name)


def _is_number(text: str) -> bool:
    return numbers.look([text]) is not None


def _is_date(text: str) -> bool:
    return dates.look([text]) is not None


def _is_code(text: str) -> bool:
    """Say whether these are digits that no number keeps, such as 007: that they are words goes without saying."""
    return text.lstrip("+-").isdigit()


def _mark(seen: numbers.Look, name: str, reading: Reading, evidence: Evidence, told: "_Told") -> str:
    """Return the mark before decimals; "" where the column stays words, and it is told why."""
    if seen.doubt:
        told.doubt(seen.doubt, name)
        return ""
    if seen.points or seen.commas:
        own = "." if seen.points else ","
        if own == "," and reading.decimal == ".":
            told.doubt("its decimals stand behind commas, and decimal says points", name)
            return ""
        return own
    learnt = reading.learnt.get(name, Written()).decimal
    if not seen.open:
        return reading.decimal or learnt or "."
    mark = reading.decimal or learnt or evidence.mark(seen.open)
    if not mark:
        told.doubt("its marks may be decimals or thousands: decimal says which", name)
    elif not reading.decimal and not learnt and not (evidence.points or evidence.commas):
        told.open(name, seen.open, mark)
    return mark


def _order(day: dates.Look, name: str, reading: Reading, sure: set[str], told: "_Told") -> str:
    """Return the order of day, month and year; "" where the column stays words, and it is told why."""
    if not day.orders:
        told.doubt("no order of day, month and year fits all of its dates", name)
        return ""
    if day.order:
        return day.order
    learnt = reading.learnt.get(name, Written()).date
    near = next(iter(sure)) if len(sure) == 1 and not day.short else ""
    order = next((one for one in (reading.dates, learnt, near) if one in day.orders), "")
    if not order:
        example = "01/02/24" if day.short else "01/02/2024"
        told.doubt(
            f"its dates are written like {example.replace('/', day.mark)}: dates says whether day or month is first",
            name,
        )
    return order


def _plain(words: Words) -> Iterator[str]:
    return (name.strip() for name in words.names)


def _spread(values: Numbers, words: Words) -> Numbers:
    return np.append(values, np.nan)[words.codes]


class _Told:
    """What is told of columns, those of which the same is told together."""

    def __init__(self) -> None:
        self._said: dict[str, list[str]] = {}

    def _note(self, said: str, name: str) -> None:
        self._said.setdefault(said, []).append(name)

    def number(self, name: str, seen: numbers.Look, mark: str, sign: str) -> None:
        if mark == "," and seen.kinds & {",", "spaced ,", "maybe ,"}:
            self._note("decimal commas in {}", name)
        groups = set(seen.grouped) | ({"points"} if mark == "," and "maybe ." in seen.kinds else set())
        groups |= {"commas"} if mark == "." and "maybe ," in seen.kinds else set()
        for one in sorted(groups):
            self._note(f"thousands parted by {one} in {{}}", name)
        if sign:
            self._note(f"{sign} taken off in {{}}", name)

    def date(self, name: str, mark: str, order: str) -> None:
        self._note(f"dates {dates.SHOWN[order].format(mark)} in {{}}", name)

    def open(self, name: str, open_: str, mark: str) -> None:
        what = "decimals" if mark == open_ else "thousands"
        self._note(f"1{open_}234 in {{}} is read as {what}, which nothing but usage says: decimal says which", name)

    def doubt(self, why: str, name: str) -> None:
        self._note(f"{{}} stays words, for {why}", name)

    def alike(self, words: str, name: str) -> None:
        self._note(f"in {{}}, {words} are different words", name)

    def notes(self) -> tuple[str, ...]:
        return tuple(said.replace("{}", listed(names), 1) for said, names in self._said.items())


def listed(names: Iterable[str]) -> str:
    """Return names in quotes, the first of many."""
    held = list(names)
    return ", ".join(map(short, held[:3])) + (f" and {len(held) - 3} more" if len(held) > 3 else "")
