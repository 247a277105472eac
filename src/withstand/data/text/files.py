"""Files of prompts and answers: JSON Lines, CSV and Parquet, a row a pair.

Columns are called prompt, chosen and rejected unless their names are said. Cells hold words, or, in JSON Lines and
Parquet, turns of a conversation with role and content. Where there is no prompt, chosen and rejected are whole
conversations, and what they begin with in common is the prompt.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from withstand.core.errors import DataError, MissingExtra, nearest
from withstand.data.text.said import Pair, Said, as_answer, as_said

SUFFIXES = (".jsonl", ".ndjson", ".csv", ".parquet", ".pq")
"""Endings of files that hold texts."""
Rows: TypeAlias = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class TextColumns:
    """What the columns are called.

    Attributes:
        prompt: of prompts.
        chosen: of preferred answers.
        rejected: of the others.
    """

    prompt: str = "prompt"
    chosen: str = "chosen"
    rejected: str = "rejected"


def is_text_file(data: object) -> bool:
    """Say whether this names a file that may hold texts, by its ending."""
    return isinstance(data, str | Path) and Path(data).suffix.lower() in SUFFIXES


def read_rows(path: Path) -> Rows:
    """Return a file's rows, each a table of cells by column.

    Raises:
        DataError: a missing or damaged file, another ending, or no rows.
        MissingExtra: Parquet without pyarrow.
    """
    if not path.is_file():
        raise DataError(f"there is no file {str(path)!r}")
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(f"{str(path)!r} holds no texts that are known: allowed are {', '.join(SUFFIXES)}")
    rows = _parquet(path) if suffix in (".parquet", ".pq") else _csv(path) if suffix == ".csv" else _json_lines(path)
    if not rows:
        raise DataError(f"{str(path)!r} has no rows")
    return rows


def pairs_of(rows: Rows, columns: TextColumns, where: str) -> list[Pair]:
    """Return the pairs that rows hold.

    Args:
        rows: of a file, or given in memory.
        columns: what they are called.
        where: what the rows are called in messages.

    Raises:
        DataError: a missing column, with the nearest; an empty answer; answers that are equal; conversations that do
            not end with the assistant's answer.
    """
    held = _columns(rows)
    for name in (columns.chosen, columns.rejected):
        if name not in held:
            raise DataError(f"{where} has no column {name!r}: {nearest(name, held)}")
    if columns.prompt not in held and columns.prompt != TextColumns().prompt:
        raise DataError(f"{where} has no column {columns.prompt!r}: {nearest(columns.prompt, held)}")
    found = [_pair(row, columns, f"row {place} of {where}", implicit=columns.prompt not in held)
             for place, row in enumerate(rows, 1)]  # fmt: skip
    equal = [place for place, pair in enumerate(found, 1) if pair.chosen.strip() == pair.rejected.strip()]
    if equal:
        raise DataError(
            f"{len(equal)} of {len(found)} rows of {where} have a chosen answer equal to the rejected one, row "
            f"{equal[0]} first: they prefer nothing, leave them out"
        )
    return found


def prompts_of(rows: Rows, columns: TextColumns, where: str) -> list[Said]:
    """Return the prompts that rows hold, whatever else they hold.

    Raises:
        DataError: no such column.
    """
    held = _columns(rows)
    if columns.prompt not in held:
        if {columns.chosen, columns.rejected} <= held.keys():
            return [pair.prompt for pair in pairs_of(rows, columns, where)]
        raise DataError(f"{where} has no column {columns.prompt!r}: {nearest(columns.prompt, held)}")
    return [
        as_said(row.get(columns.prompt), f"{columns.prompt} in row {n} of {where}") for n, row in enumerate(rows, 1)
    ]


def unread_in(rows: Rows, used: Sequence[str]) -> str:
    """Return what rows hold beside the columns that are used, and turns beside role and content, in words or "".

    Args:
        rows: of a file, or given in memory.
        used: names of columns.
    """
    beside = [repr(name) for name in _columns(rows) if name not in used]
    turns = dict.fromkeys(
        key
        for row in rows
        for name in used
        if not isinstance(row.get(name), str) and isinstance(row.get(name), Sequence)
        for turn in row[name]
        if isinstance(turn, Mapping)
        for key, value in turn.items()
        if key not in ("role", "content") and value is not None  # Parquet fills what one turn has in all of them
    )
    told = [f"columns that are not read: {_some(beside)}"] if beside else []
    told += [f"turns hold {_some([*map(repr, turns)])} beside, which is not read"] if turns else []
    return "; ".join(told)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _columns(rows: Rows) -> dict[str, None]:
    return dict.fromkeys(name for row in rows for name in row)


def _pair(row: Mapping[str, Any], columns: TextColumns, where: str, *, implicit: bool) -> Pair:
    chosen, rejected = row.get(columns.chosen), row.get(columns.rejected)
    if not implicit:
        return Pair(
            as_said(row.get(columns.prompt), f"{columns.prompt} in {where}"),
            as_answer(chosen, f"{columns.chosen} in {where}"),
            as_answer(rejected, f"{columns.rejected} in {where}"),
        )
    one, two = as_said(chosen, f"{columns.chosen} in {where}"), as_said(rejected, f"{columns.rejected} in {where}")
    if isinstance(one, str) or isinstance(two, str):
        raise DataError(f"{where} has no column {columns.prompt!r}, and its answers are no conversations that hold one")
    if one[:-1] != two[:-1] or len(one) < 2 or {one[-1][0], two[-1][0]} != {"assistant"}:
        raise DataError(f"{where}: both conversations must differ in their last turn alone, the assistant's")
    ends = [{"role": role, "content": words} for role, words in (one[-1], two[-1])]
    return Pair(
        one[:-1],
        as_answer([ends[0]], f"{columns.chosen} in {where}"),
        as_answer([ends[1]], f"{columns.rejected} in {where}"),
    )


def _json_lines(path: Path) -> list[Mapping[str, Any]]:
    rows: list[Mapping[str, Any]] = []
    for number, line in enumerate(_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=_once_each)
        except (ValueError, RecursionError) as error:
            raise DataError(f"line {number} of {str(path)!r} is no JSON: {error}") from None
        except DataError as error:
            raise DataError(f"line {number} of {str(path)!r}: {error}") from None
        if not isinstance(row, dict):
            raise DataError(f"line {number} of {str(path)!r} must be a table of columns, not a {type(row).__name__}")
        rows.append(row)
    return rows


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{repeated!r} stands more than once in a table: nobody can tell which is meant")
    return found


def _csv(path: Path) -> list[Mapping[str, Any]]:
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    rows: list[Mapping[str, Any]] = []
    try:
        header = [name.strip() for name in next(reader, [])]
        repeated = [name for name in header if header.count(name) > 1]
        if repeated:
            raise DataError(f"{str(path)!r} has more than one column {repeated[0]!r}: rename them in its first line")
        for row in reader:
            if row and len(row) != len(header):
                raise DataError(
                    f"line {reader.line_num} of {str(path)!r} has {len(row)} fields, and there are {len(header)} "
                    "columns: a text with a comma in it stands in quotes"
                )
            if row:
                rows.append(dict(zip(header, row, strict=True)))
    except csv.Error as error:
        raise DataError(f"line {reader.line_num} of {str(path)!r} is no row of a table: {error}") from None
    return rows


def _parquet(path: Path) -> list[Mapping[str, Any]]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtra(f"reading {path.name}", "pyarrow", "table") from error
    try:
        rows: list[Mapping[str, Any]] = parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{str(path)!r} cannot be read: {' '.join(str(error).split())[:200]}") from None
    return rows


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{str(path)!r} cannot be read as UTF-8 text: {error}") from None
