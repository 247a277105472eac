"""Finding: what an evaluator found, with the protocol that makes the figures mean something.

A finding is `findings/<name>.json` in a run folder, with its pictures beside it in `<name>.npz`.
"""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from withstand.core.errors import DataError
from withstand.core.files import replacing
from withstand.core.findings.legacy_figures import modern
from withstand.core.findings.measure import Better as Better
from withstand.core.findings.measure import Interval as Interval
from withstand.core.findings.measure import Measure as Measure
from withstand.core.findings.measure import number as number
from withstand.core.findings.norms import norms
from withstand.core.part import Tree

Cell: TypeAlias = str | int | float | bool | None

SPREAD = " ±"
"""Ends the name of a column of spreads."""

LOW, HIGH = ", 95 % low", ", 95 % high"
"""End the names of the columns that hold the ends of intervals."""


@dataclass(frozen=True)
class Table:
    """Rows of plain values under named columns.

    A column called `"NAME ±"` is the spread of column `NAME`; `"NAME, 95 % low"` and `"NAME, 95 % high"` are the ends
    of its interval. With `x` naming a numeric column, the others are curves over it, and the report draws them; a
    column `"X name"` says what the values of `x` stand for.
    `note` tells a reader how to read the curves.
    `units` says what numeric columns hold, as a `Measure` does: "share" is shown in percent, "k/255" is a radius in
    input units that a column "k/255" beside it tells in words.
    `controls` names, for each column of a control (an untrained encoder, noise), the column that it is of, "" for all.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    x: str | None = None
    note: str = ""
    units: Mapping[str, str] = field(default_factory=dict)
    controls: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"row {row!r} does not fit the columns {self.columns!r}")
        if self.x is not None and self.x not in self.columns:
            raise ValueError(f"x {self.x!r} is none of the columns {self.columns!r}")
        for name in (*self.units, *self.controls, *self.controls.values()):
            if name not in ("", *self.columns):
                raise ValueError(f"{name!r}, of units or controls, is none of the columns {self.columns!r}")

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


@dataclass(frozen=True, repr=False)
class Finding:
    """The outcome of one evaluation; printed, its figures and checks in words.

    In JSON it is an object of these fields without the pictures: `figures` by name as `Measure` says, `tables` by name
    and `checks` in a list as objects of their own fields.

    Attributes:
        name: what was evaluated, as a file name: "knn", "linear", "audit".
        figures: measures by name.
        tables: curves and comparisons.
        checks: why the numbers are believable.
        protocol: every choice behind the numbers, readable alone.
        pictures: uint8 arrays for the report: a strip `(N, H, W, C)` or a grid `(rows, columns, H, W, C)`,
            C 1 or 3. Strips of equal N in one finding belong together, picture by picture.
        headline: the name of the one figure that the finding is read for, where there is one.
    """

    name: str
    figures: Mapping[str, Measure] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    protocol: dict[str, Tree] = field(default_factory=dict)
    pictures: dict[str, npt.NDArray[np.uint8]] = field(default_factory=dict)
    headline: str | None = None

    def __post_init__(self) -> None:
        for name, figure in self.figures.items():
            if not isinstance(figure, Measure):
                raise TypeError(f"figure {name!r} is a {type(figure).__name__}, not a Measure")
        if self.headline is not None and self.headline not in self.figures:
            raise ValueError(f"the headline {self.headline!r} is none of the figures {', '.join(self.figures)}")

    def __repr__(self) -> str:
        """Return one short line; `print` shows more."""
        shown = [f"{norms(name)} {figure}" for name, figure in self.figures.items() if self.headline in (None, name)]
        more = f", {len(shown) - 3} more" if len(shown) > 3 else ""
        return f"<Finding {self.name}: {', '.join(shown[:3])}{more}>" if shown else f"<Finding {self.name}>"

    def __str__(self) -> str:
        """Return figures and checks as lines of text."""
        lines = [f"{self.name}, {self.about}" if self.about else self.name]
        width = max(map(len, self.figures), default=0)
        lines += [f"  {norms(name):{width}}  {measure}" for name, measure in self.figures.items()]
        marks = {True: "ok", False: "FAILED", None: "not judged"}
        lines += [f"  [{marks[check.passed]}] {check.name}: {norms(check.detail)}" for check in self.checks]
        return "\n".join(lines)

    def with_control(self, called: str) -> "Finding":
        """Return the same finding, whose controls are called so where nothing better is said of them."""
        figures = {
            name: figure
            if figure.control is None or figure.control.called
            else replace(figure, control=replace(figure.control, called=called))
            for name, figure in self.figures.items()
        }
        return replace(
            self, figures=figures, tables={name: _renamed(table, called) for name, table in self.tables.items()}
        )

    @property
    def numbers(self) -> dict[str, float]:
        """The figures' values alone."""
        return {name: measure.value for name, measure in self.figures.items()}

    @property
    def believable(self) -> bool:
        """False when a check failed."""
        return all(check.passed is not False for check in self.checks)

    @property
    def bare(self) -> bool:
        """Whether it holds checks alone, as where they say why nothing was measured."""
        return not (self.figures or self.tables or self.pictures)

    @property
    def about(self) -> str:
        """How many samples of which data it is about, in words; "" where the protocol does not say."""
        return self.told_of("sample")

    def told_of(self, noun: str) -> str:
        """Return `about` with another word for the samples: "picture", "row"."""
        used, given, asked = (self.protocol.get(key) for key in ("samples", "samples given", "samples asked for"))
        if not isinstance(used, int) or not isinstance(given, int):
            return ""
        data = self.protocol.get("data")
        name = f" of {data['name']}" if isinstance(data, dict) and "name" in data else ""
        words = f"{f'all {used:,}' if used == given else f'{used:,} of {given:,}'} {noun}s{name}"
        return f"{words} ({asked:,} were asked for)" if isinstance(asked, int) and asked > given else words

    def save(self, folder: Path) -> Path:
        """Write the finding into `folder`, whole or not at all, and return its path."""
        folder.mkdir(parents=True, exist_ok=True)
        if not self.pictures:
            (folder / f"{self.name}.npz").unlink(missing_ok=True)  # an earlier finding's
        else:
            with replacing(folder / f"{self.name}.npz") as path, path.open("wb") as file:
                pictures: dict[str, Any] = dict(self.pictures)
                np.savez_compressed(file, **pictures)
        with replacing(folder / f"{self.name}.json") as path:
            path.write_text(json.dumps(self.record(), indent=1, allow_nan=True) + "\n", encoding="utf-8")
        return folder / f"{self.name}.json"

    def record(self) -> dict[str, Any]:
        """Return it as an object of JSON, without its pictures."""
        record = asdict(replace(self, figures={}, headline=None, pictures={}))
        del record["pictures"]
        figures = {name: measure.record() for name, measure in self.figures.items()}
        return record | {"figures": figures, "headline": self.headline}

    @classmethod
    def of_record(cls, record: Any) -> "Finding":
        """Return the finding that `record` gave, here or in an earlier version.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: the object is not a finding.
        """
        given = modern(record)
        tables = {
            name: Table(**table | {"columns": tuple(table["columns"]), "rows": tuple(map(tuple, table["rows"]))})
            for name, table in given["tables"].items()
        }
        checks = tuple(Check(**check) for check in given["checks"])
        return cls(**given | {"tables": tables, "checks": checks, "figures": _measures(given["figures"])})

    @classmethod
    def load(cls, path: Path) -> "Finding":
        """Read a finding that `save` wrote, also one of an earlier version.

        Raises:
            DataError: the file is not a finding.
        """
        try:
            finding = cls.of_record(json.loads(path.read_text(encoding="utf-8")))
            pictures = path.with_suffix(".npz")
            if pictures.exists():
                with np.load(pictures, allow_pickle=False) as arrays:
                    finding = replace(finding, pictures={name: arrays[name] for name in arrays.files})
            return finding
        except (ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(f"{path} is not a finding ({error})") from error


def _renamed(table: Table, called: str) -> Table:
    """Return a table whose columns of an untrained control are called otherwise."""
    names = {name: name.replace("untrained control", called) for name in (*table.columns, *table.controls)}
    return replace(
        table,
        columns=tuple(names[name] for name in table.columns),
        units={names.get(name, name): unit for name, unit in table.units.items()},
        controls={names[name]: names.get(of, of) for name, of in table.controls.items()},
    )


def _measures(records: Mapping[str, Mapping[str, Tree]]) -> dict[str, Measure]:
    return {name: Measure.of_record(record) for name, record in records.items()}
