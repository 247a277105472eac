"""Read a run folder: tolerant of what is not there yet, strict about what is damaged."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

from withstand.core.errors import DataError, RunError
from withstand.core.findings.finding import Finding
from withstand.core.part import Tree

Row = dict[str, float]


@dataclass(frozen=True)
class StoredRun:
    """What a run has written so far.

    Attributes:
        path: the folder.
        record: `run.json`.
        metrics: the lines of `metrics.jsonl` by step, numbers only, each step once.
        findings: by name.
    """

    path: Path
    record: dict[str, Tree]
    metrics: tuple[Row, ...]
    findings: dict[str, Finding]

    @property
    def name(self) -> str:
        """What the run is called."""
        return text(self.record, "name") or self.path.resolve().name

    @property
    def trained(self) -> bool:
        """Whether the network was trained here; other folders hold findings on a network of the user's."""
        return text(self.record, "status") != "audited"

    @property
    def frozen(self) -> bool:
        """Whether training left the encoder as an earlier run had made it."""
        return self.record.get("encoder is frozen") is True

    @property
    def gives(self) -> tuple[str, ...]:
        """The names of what the run gives; records from before runs said it hold encoders."""
        names = self.record.get("gives")
        return tuple(str(name) for name in names) if isinstance(names, list) and names else ("encoder",)

    @property
    def auditable(self) -> bool:
        """Whether `withstand audit` measures such a run; records that do not say so are taken to."""
        return self.record.get("auditable") is not False

    @property
    def taught_by(self) -> str:
        """What people said of the samples that training learnt from, as "labels" or "masks"; "" where nothing.

        Records that do not say it hold methods that learn from labels, and so know how many classes there are, or from
        none.
        """
        said = self.record.get("taught by")
        if isinstance(said, str):
            return said
        arguments = dig(self.record, "tree", "init_args", "method", "init_args")
        return "labels" if isinstance(arguments, dict) and not {"classes", "counts"}.isdisjoint(arguments) else ""

    @property
    def saw_labels(self) -> bool:
        """Whether training learnt from labels, all or few."""
        return "labels" in self.taught_by

    @classmethod
    def read(cls, path: Path) -> "StoredRun":
        """Read the folder.

        Raises:
            RunError: it is not a run folder.
            DataError: one of its files is damaged; the message names it.
        """
        if not (path / "run.json").is_file():
            raise RunError(f"{path} is not a run folder: it has no run.json; `withstand train` makes one")
        found = [Finding.load(file) for file in sorted((path / "findings").glob("*.json"))]
        return cls(
            path,
            _record(path / "run.json"),
            _metrics(path / "metrics.jsonl"),
            {finding.name: finding for finding in found},
        )


def _record(path: Path) -> dict[str, Tree]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}") from error
    if not isinstance(record, dict):
        raise DataError(f"{path} is damaged: it holds no JSON object")
    return record


def _metrics(path: Path) -> tuple[Row, ...]:
    """Return the rows in order of steps. A resumed run may have logged a step twice: the later line counts."""
    if not path.is_file():
        return ()
    rows: dict[float, Row] = {}
    lines = path.read_bytes().splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            rows[row["step"]] = {key: value for key, value in row.items() if _is_number(value)}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if number == len(lines) and not line.endswith(b"\n"):
                break  # a line that is being written, or that a kill cut short
            raise DataError(f"{path} is damaged in line {number}: {error!r}") from error
    return tuple(rows[step] for step in sorted(rows))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def dig(tree: Tree, *keys: str) -> Tree:
    """Return what lies under the keys, or None where a key is missing."""
    for key in keys:
        if not isinstance(tree, dict):
            return None
        tree = tree.get(key)
    return tree


def text(tree: Tree, *keys: str) -> str:
    """Return the string under the keys, or ""."""
    value = dig(tree, *keys)
    return value if isinstance(value, str) else ""


def number(tree: Tree, *keys: str) -> float | None:
    """Return the finite number under the keys, or None."""
    value = dig(tree, *keys)
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return value
    return None
