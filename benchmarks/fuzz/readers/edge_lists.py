"""Edge lists: small graphs in every usual dialect; ends, comments and lines dropped, doubled, replaced."""

from pathlib import Path
from random import Random

from benchmarks.fuzz.reader import Reader
from withstand.data.graphs.tables import EdgeList

_WORDS = ("", "0", "-1", "99999999999999999999", "1e9", "nan", "source", "target", "from", "u", "#", "%", "# x", '"',
          '"a b"', "é", "\u2028", "{}", "a" * 5000, " ", "\t\t", "%%MatrixMarket", "\x1a", "007")  # fmt: skip


def _lines(draws: Random) -> tuple[list[list[str]], str]:
    nodes = draws.choice((2, 10, 500))
    name = draws.choice(("{}", "n{}", "node {}x"))
    delimiter = draws.choice((",", ";", "\t", "|", " ") if " " not in name else (",", ";", "\t"))
    lines = [[name.format(draws.randrange(nodes)) for _ in range(2)] for _ in range(draws.choice((1, 20, 900)))]
    if draws.random() < 0.3:
        lines = [[*line, f"{draws.random():.3f}"] for line in lines]
    if draws.random() < 0.5:
        lines.insert(0, ["source", "target", "weight"][: len(lines[0])])
    return lines, delimiter


def _written(lines: list[list[str]], delimiter: str, draws: Random) -> bytes:
    rows = [delimiter.join(line) for line in lines]
    if draws.random() < 0.3:
        rows.insert(draws.randrange(len(rows) + 1), draws.choice(("# a comment", "% 3 3 3", "")))
    return draws.choice(("\n", "\r\n")).join([*rows, ""]).encode(draws.choice(("utf-8", "utf-8-sig", "utf-16")))


def valid(draws: Random) -> bytes:
    lines, delimiter = _lines(draws)
    if lines[0][0] != "source" and len(lines) > 1:  # so that a first line of words is no question
        lines[1] = [*reversed(lines[0][:2]), *lines[1][2:]]
    return _written(lines if len(lines) > 1 else lines * 3, delimiter, draws)


def twisted(draws: Random) -> bytes:
    lines, delimiter = _lines(draws)
    for _ in range(draws.choice((1, 2, 5))):
        row = draws.randrange(len(lines))
        place = draws.randrange(len(lines[row]) + 1)
        match draws.randrange(6):
            case 0:
                lines[row][place:place] = [draws.choice(_WORDS)] * draws.choice((1, 1, 3000))
            case 1:
                del lines[row][place:]
            case 2:  # a star
                hub = lines[row][:1] or ["hub"]
                lines += [[*hub, f"leaf{leaf}", *line[2:]] for leaf, line in enumerate(lines)]
            case 3:
                odd = draws.choice(_WORDS)
                for line in lines:
                    if place < len(line):
                        line[place] = odd
            case 4:
                lines[row] = [draws.choice(_WORDS) for _ in lines[row]]
            case _:
                if place < len(lines[row]):
                    lines[row][place] = draws.choice(_WORDS)
    return _written(lines, delimiter, draws)


def read(path: Path) -> object:
    found = EdgeList(str(path))
    return found[range(min(4, len(found)))]


READER = Reader(".txt", valid, twisted, read, times=3)
