"""Finding: what an evaluator found, with the protocol that makes the numbers mean something.

A finding is `findings/<name>.json` in a run folder, with its pictures beside it in `<name>.npz`.
"""

import json
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from withstand.core.errors import DataError
from withstand.core.files import replacing
from withstand.core.part import Tree

Cell: TypeAlias = str | int | float | bool | None

SPREAD = " ±"
"""Ends the name of a number's or a column's spread: one width to both sides."""

LOW, HIGH = ", 95 % low", ", 95 % high"
"""End the names of the ends of a share's 95 % interval, which is not even round the share."""


@dataclass(frozen=True)
class Table:
    """Rows of plain values under named columns.

    A column called `"NAME ±"` is the spread of column `NAME`; `"NAME, 95 % low"` and `"NAME, 95 % high"` are the ends
    of its interval. With `x` naming a numeric column, the others are curves over it, and the report draws them; a
    column `"X name"` says what the values of `x` stand for.
    `note` tells a reader how to read the curves.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    x: str | None = None
    note: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"row {row!r} does not fit the columns {self.columns!r}")
        if self.x is not None and self.x not in self.columns:
            raise ValueError(f"x {self.x!r} is none of the columns {self.columns!r}")

    def column(self, name: str) -> tuple[Cell, ...]:
        """Return one column's cells."""
        place = self.columns.index(name)
        return tuple(row[place] for row in self.rows)


@dataclass(frozen=True)
class Check:
    """One reason to believe a number, or not to. `passed` is None when it could not be judged."""

    name: str
    passed: bool | None
    detail: str


@dataclass(frozen=True)
class Finding:
    """The outcome of one evaluation.

    Attributes:
        name: what was evaluated, as a file name: "knn", "linear", "audit".
        numbers: headline figures by name; accuracies are shares in [0, 1]. Spreads and the ends of intervals are called
            as in a `Table`.
        tables: curves and comparisons.
        checks: why the numbers are believable.
        protocol: every choice behind the numbers, readable alone.
        pictures: uint8 arrays for the report: a strip `(N, H, W, C)` or a grid `(rows, columns, H, W, C)`,
            C 1 or 3. Strips of equal N in one finding belong together, picture by picture.
    """

    name: str
    numbers: dict[str, float] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    protocol: dict[str, Tree] = field(default_factory=dict)
    pictures: dict[str, npt.NDArray[np.uint8]] = field(default_factory=dict)

    @property
    def believable(self) -> bool:
        """False when a check failed."""
        return all(check.passed is not False for check in self.checks)

    @property
    def about(self) -> str:
        """How many samples of which data it is about, in words; "" where the protocol does not say."""
        used, given, asked = (self.protocol.get(key) for key in ("samples", "samples given", "samples asked for"))
        if not isinstance(used, int) or not isinstance(given, int):
            return ""
        data = self.protocol.get("data")
        name = f" of {data['name']}" if isinstance(data, dict) and "name" in data else ""
        words = f"{f'all {used:,}' if used == given else f'{used:,} of {given:,}'} samples{name}"
        return f"{words} ({asked:,} were asked for)" if isinstance(asked, int) and asked > given else words

    def save(self, folder: Path) -> Path:
        """Write the finding into `folder`, whole or not at all, and return its path."""
        folder.mkdir(parents=True, exist_ok=True)
        if not self.pictures:
            (folder / f"{self.name}.npz").unlink(missing_ok=True)  # an earlier finding's
        else:
            with replacing(folder / f"{self.name}.npz") as path, path.open("wb") as file:
                np.savez_compressed(file, **self.pictures)  # type: ignore[arg-type]
        record = asdict(self)
        del record["pictures"]
        with replacing(folder / f"{self.name}.json") as path:
            path.write_text(json.dumps(record, indent=1, allow_nan=True) + "\n", encoding="utf-8")
        return folder / f"{self.name}.json"

    @classmethod
    def load(cls, path: Path) -> "Finding":
        """Read a finding that `save` wrote.

        Raises:
            DataError: the file is not a finding.
        """
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            tables = {
                name: Table(
                    tuple(table["columns"]), tuple(map(tuple, table["rows"])), table["x"], table.get("note", "")
                )
                for name, table in record["tables"].items()
            }
            checks = tuple(Check(**check) for check in record["checks"])
            record |= {"tables": tables, "checks": checks}
            pictures = path.with_suffix(".npz")
            if pictures.exists():
                with np.load(pictures, allow_pickle=False) as arrays:
                    record["pictures"] = {name: arrays[name] for name in arrays.files}
            return cls(**record)
        except (ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(f"{path} is not a finding ({error})") from error
