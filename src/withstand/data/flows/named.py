"""Sets of captures that are known by name."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from withstand.core.errors import DataError, nearest
from withstand.data.pictures.named import VARIABLE

NAMED_FLOWS: Final = {"ndpi": ("ndpi_core.zip", "ndpi_flows_core.csv", "ndpi_protocol")}
"""Sets, and in the folder `pcap` of the data folder their archive, their table of labels and its column."""
LEAST_FLOWS: Final = 20
LEAST_FILES: Final = 4
"""Flows, and captures they come from, that a class of a named set needs: captures are divided, not flows."""


@dataclass(frozen=True)
class Known:
    """Where a named set lies: its captures, the table of labels and the column."""

    archive: Path
    table: Path
    column: str


def named_flows(name: str) -> Known:
    """Return where a set lies.

    `ndpi` are captures of the tests of nDPI, each named for an application. Labels are what nDPI took each flow for, so
    no human's.

    Raises:
        DataError: an unknown name, or a set that is not on this machine.
    """
    if name not in NAMED_FLOWS:
        raise DataError(f"there is no set of captures {name!r}: {nearest(name, NAMED_FLOWS)}")
    archive, table, column = NAMED_FLOWS[name]
    base = Path(os.environ.get(VARIABLE, "")) / "pcap"
    if not os.environ.get(VARIABLE) or not (base / archive).is_file():
        raise DataError(
            f"{name} is not on this machine: set {VARIABLE} to a folder with pcap/{archive} and pcap/{table}"
        )
    return Known(base / archive, base / table, column)


def broad(words: Sequence[str | None], files: Sequence[str]) -> list[str | None]:
    """Return protocols without the application behind their dot, and None for rare ones and for what is unknown.

    Args:
        words: each flow's label, as TLS.Github.
        files: its capture.
    """
    plain = [None if word is None else word.partition(".")[0] for word in words]
    flows = Counter(plain)
    captures = Counter(word for word, _ in set(zip(plain, files, strict=True)))
    return [
        word if word not in (None, "Unknown") and flows[word] >= LEAST_FLOWS and captures[word] >= LEAST_FILES else None
        for word in plain
    ]
