"""Tables in text: every usual dialect; fields, quotes, separators and lines dropped, doubled, replaced."""

import csv
import io
import warnings
from pathlib import Path
from random import Random

from benchmarks.fuzz.reader import Reader
from withstand.data.tables.source import TableSource

_FIELDS = ("", "NA", "nan", "inf", "-inf", "1e400", "0x10", "1_000", "007", "1,5", "1.234,5", "12345678901234567",
           "9" * 400, "2019-02-30", "0001-01-01", "2020-01-01T10:00:00+02:00", "١", "é", "\u2028", '"', "'", "a\nb",
           "x" * 5000, "sep=;", "true", "-0", "+", "#", "%", "\x1a", "\x0b")  # fmt: skip


def _rows(draws: Random) -> list[list[str]]:
    kinds = [
        draws.choice(("number", "whole", "word", "code", "date", "text")) for _ in range(draws.choice((1, 2, 5, 30)))
    ]
    names = draws.choice(
        ([f"h{place}" for place in range(len(kinds))], [str(2000 + place) for place in range(len(kinds))])
    )

    def field(kind: str) -> str:
        return {
            "number": f"{draws.uniform(-9, 9):.3f}",
            "whole": str(draws.randrange(100)),
            "word": draws.choice(("red", "green", "blue", "")),
            "code": f"{draws.randrange(1000):05d}",
            "date": f"20{draws.randrange(10, 30)}-01-{draws.randrange(1, 29):02d}",
            "text": " ".join(draws.choice(("the", "quick", "fox, brown", "o'er")) for _ in range(6)),
        }[kind]

    return [names, *([field(kind) for kind in kinds] for _ in range(draws.choice((2, 20, 300))))]


def _written(rows: list[list[str]], draws: Random) -> bytes:
    text = io.StringIO()
    delimiter = draws.choice((",", ";", "\t", "|"))
    if draws.random() < 0.1:
        text.write(f"sep={delimiter}\n")
    quoting = draws.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
    csv.writer(text, delimiter=delimiter, lineterminator=draws.choice(("\n", "\r\n")), quoting=quoting).writerows(rows)
    return text.getvalue().encode(draws.choice(("utf-8", "utf-8", "utf-8-sig", "utf-16", "cp1252")), "replace")


def valid(draws: Random) -> bytes:
    return _written(_rows(draws), draws)


def twisted(draws: Random) -> bytes:
    rows = _rows(draws)
    for _ in range(draws.choice((1, 2, 5))):
        row = draws.randrange(len(rows))
        place = draws.randrange(len(rows[row]) + 1)
        match draws.randrange(6):
            case 0:
                rows[row][place:place] = [draws.choice(_FIELDS)] * draws.choice((1, 1, 3000))
            case 1:
                del rows[row][place:]
            case 2:
                rows[row : row + 1] = [list(rows[row]) for _ in range(draws.choice((0, 2, 500)))]
            case 3:  # the same odd value down a column
                odd = draws.choice(_FIELDS)
                for one in rows:
                    if place < len(one):
                        one[place] = odd
            case 4:
                rows[row] = [draws.choice(_FIELDS) for _ in rows[row]]
            case _:
                if place < len(rows[row]):
                    rows[row][place] = draws.choice(_FIELDS)
        rows = rows or [["a", "b"]]
        rows = [one or [""] for one in rows]
    content = _written(rows, draws)
    # A quote that nothing closes, or one that closes too early.
    cut = draws.randrange(len(content) + 1)
    return content[:cut] + b'"' + content[cut:] if draws.random() < 0.2 else content


def read(path: Path) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = TableSource(path)
        return found[range(min(4, len(found)))]


READER = Reader(".csv", valid, twisted, read, times=3)
