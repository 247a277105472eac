"""Tables whose columns are known by name: ratings, and readings of a device; names, times and numbers are odd."""

import tempfile
import warnings
from pathlib import Path
from random import Random

from benchmarks.fuzz.reader import Reader
from withstand.data.interactions.source import Catalogue, is_ratings
from withstand.data.windows.source import WindowFiles, is_windows

_NAMES = ("", "time", "t", "Time (s)", "timestamp_ms", "date", "time_of_day", "y", "x", "z", "label", "activity",
          "user", "item", "rating", "userId", "count", "é", "column 1", "a\nb")  # fmt: skip
_FIELDS = ("", "NA", "nan", "inf", "-inf", "1e400", "-1", "007", "1,5", "9" * 19, "2019-02-30", "2020-01-01 10:00:00",
           "10:00:00", "é", "\u2028", "x" * 500, "1E5", "0")  # fmt: skip


def _rows(draws: Random) -> list[list[str]]:
    count = draws.choice((30, 300))
    if draws.random() < 0.5:
        names = ["user", "item", "rating", "timestamp"][: draws.choice((2, 3, 4))]
        rows = [[f"u{draws.randrange(9)}", str(draws.randrange(20)), str(draws.randrange(1, 6)), str(place)]
                for place in range(count)]  # fmt: skip
        return [names, *(row[: len(names)] for row in rows)]
    names = ["time_s", "acc_x", "acc_y", "label"][: draws.choice((2, 3, 4))]
    rows = [[f"{place * 0.1:.2f}", f"{draws.uniform(-9, 9):.3f}", f"{draws.uniform(-9, 9):.3f}", "ab"[place % 2]]
            for place in range(count)]  # fmt: skip
    return [names, *(row[: len(names)] for row in rows)]


def _written(rows: list[list[str]], draws: Random) -> bytes:
    delimiter = draws.choice((",", ";", "\t"))
    lines = [delimiter.join(f'"{one}"' if delimiter in one or "\n" in one else one for one in row) for row in rows]
    if draws.random() < 0.1:
        lines.insert(0, f"sep={delimiter}")
    return draws.choice(("\n", "\r\n")).join([*lines, ""]).encode(draws.choice(("utf-8", "utf-8-sig", "utf-16")))


def valid(draws: Random) -> bytes:
    rows = _rows(draws)
    return "\n".join(",".join(row) for row in rows).encode()


def twisted(draws: Random) -> bytes:
    rows = _rows(draws)
    for _ in range(draws.choice((1, 2, 5))):
        place = draws.randrange(len(rows[0]))
        match draws.randrange(4):
            case 0:
                rows[0][place] = draws.choice(_NAMES)
            case 1:
                draws.choice(rows[1:])[place] = draws.choice(_FIELDS)
            case 2:
                odd = draws.choice(_FIELDS)
                for row in rows[1:]:
                    row[place] = odd
            case _:
                name = draws.choice(_NAMES)
                for number, row in enumerate(rows):
                    row.insert(place, draws.choice(_FIELDS) if number else name)
    return _written(rows, draws)


def read(path: Path) -> None:
    """Read a file as ratings where it is one of them, else as a device's readings."""
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        folder = Path(name) / "lab" / "anna"
        folder.mkdir(parents=True)
        file = folder / "a.csv"
        file.write_bytes(path.read_bytes())
        if is_ratings(file):
            catalogue = Catalogue(file)
            assert len(catalogue[range(len(catalogue))].x) == len(catalogue)
            return
        assert is_windows(folder.parent)
        source = WindowFiles(folder.parent, seconds=1.0)
        batch = source[range(min(64, len(source)))]
        assert float(batch.x.abs().max()) <= 1


READER = Reader(".csv", valid, twisted, read, times=3)
