"""Texts in JSON Lines and CSV, and tables of captions: rows of prompts and answers; odd keys, turns and fields."""

import contextlib
import csv
import io
import json
import tempfile
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.fuzz.reader import Reader
from withstand.core.errors import WithstandError
from withstand.data.captions.table import read_captions
from withstand.data.text.files import TextColumns, pairs_of, prompts_of, read_rows, unread_in
from withstand.data.text.said import from_ids, to_ids

_COLUMNS = ("prompt", "chosen", "rejected")
_ODD: tuple[Any, ...] = ("", " ", None, 0, 1e400, True, [], {}, "\ud83d", "\u2028", "\0", "a\r\nb", '"', "x" * 5000,
        [{"role": "user"}], [{"role": "user", "content": [1]}], [[]], {"prompt": "a"})  # fmt: skip


def _rows(draws: Random) -> list[dict[str, Any]]:
    words = ("a dog", 'he said "hi"', "one, two", "é\u2028ü", "{draft}", "line\nline")
    turns = draws.random() < 0.3

    def said(place: int) -> Any:
        text = f"{draws.choice(words)} {place}"
        return [{"role": "user", "content": text}] if turns else text

    return [
        {"prompt": said(place), "chosen": f"{draws.choice(words)} yes", "rejected": f"{draws.choice(words)} no"}
        for place in range(draws.choice((1, 3, 40)))
    ]


def _written(rows: list[dict[str, Any]], draws: Random) -> bytes:
    if draws.random() < 0.6 or any(not isinstance(value, str) for row in rows for value in row.values()):
        lines = [json.dumps(row, ensure_ascii=draws.random() < 0.7) for row in rows]
        return draws.choice(("\n", "\r\n", "\n\n")).join(lines).encode("utf-8", "surrogatepass")
    text = io.StringIO()
    table = csv.writer(text, delimiter=draws.choice(",,,;\t"))
    table.writerow(draws.choice((_COLUMNS, ("image", "caption", "split"))))
    table.writerows([list(row.values()) for row in rows])
    return text.getvalue().encode(draws.choice(("utf-8", "utf-8-sig", "utf-16")), "replace")


def valid(draws: Random) -> bytes:
    return "\n".join(json.dumps(row) for row in _rows(draws)).encode()


def twisted(draws: Random) -> bytes:
    rows = _rows(draws)
    for _ in range(draws.choice((0, 1, 2, 5))):
        row = draws.choice(rows)
        match draws.randrange(4):
            case 0:
                row[draws.choice(_COLUMNS)] = draws.choice(_ODD)
            case 1:
                row.pop(draws.choice(_COLUMNS), None)
            case 2:
                row[draws.choice(("", "system", "a\nb", "é"))] = draws.choice(_ODD)
            case _:
                for one in rows:
                    one["prompt"] = draws.choice(_ODD)
    content = _written(rows, draws)
    return draws.choice((b"[", b'{"a":')) * 100_000 + content if draws.random() < 0.02 else content


def read(path: Path) -> None:
    """Read a file by its beginning as JSON Lines, else as CSV, and in any case as captions."""
    with tempfile.TemporaryDirectory() as folder:
        content = path.read_bytes()
        held = Path(folder) / ("a.jsonl" if content.lstrip()[:1] in (b"{", b"[") else "a.csv")
        held.write_bytes(content)
        with contextlib.suppress(WithstandError):
            read_captions(held)
        rows = read_rows(held)
        unread_in(rows, _COLUMNS)
        for said in prompts_of(rows, TextColumns(), "the file"):
            assert from_ids(to_ids(said)) == said
        pairs_of(rows, TextColumns(), "the file")


READER = Reader(".jsonl", valid, twisted, read, allowance=64 << 20)  # a row of JSON takes many times its letters
