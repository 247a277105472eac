"""What flows are called: by the folder or the file of their capture, or by a table that names their ends."""

import ipaddress
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

import torch
from torch import Tensor

from withstand.core.errors import DataError, nearest
from withstand.data.flows.assemble import Ends
from withstand.data.flows.opening import folder_of
from withstand.data.flows.table import PROTOCOLS
from withstand.data.pictures.folder_parts import role_of
from withstand.data.tables.files import read_file
from withstand.data.tables.frame import Values, Words

_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "file": ("pcap", "file", "filename", "capture"),
    "protocol": ("l4", "protocol", "proto", "transport"),
    "source": ("src", "source", "src_ip", "source ip", "source_ip"),
    "target": ("dst", "target", "destination", "dst_ip", "destination ip", "dest_ip", "target_ip"),
    "source port": ("src_port", "source port", "sport", "source_port"),
    "target port": ("dst_port", "destination port", "target port", "dport", "dest_port", "target_port"),
}
"""How the columns of a table of flows may be called, in small letters."""
LABELS: Final = ("label", "class", "application", "category")
"""How the column of labels may be called."""

Key = tuple[str, str, tuple[tuple[str, int], ...]]


def by_folder(files: Sequence[str]) -> list[str | None] | None:
    """Return the folder of each flow's capture; None where they do not lie in two folders at least.

    The first folder in its path counts; where first folders are parts, as train and test, the one below.
    """
    inner = files if parts_of(files) is None else [name.partition("/")[2] for name in files]
    folders = [folder_of(name) for name in inner]
    return [folder or None for folder in folders] if len(set(folders) - {""}) > 1 else None


def parts_of(files: Sequence[str]) -> Tensor | None:
    """Return which part each capture lies in, by its first folder's name: 0 to train, 1 to test, `(N,)`; None without.

    There are parts where every capture lies in one, and captures in both.
    """
    roles = [role_of(folder_of(name))[0] if folder_of(name) else None for name in files]
    if None in roles or not {"train"} < set(roles):
        return None
    return torch.tensor([int(role != "train") for role in roles])


def by_file(files: Sequence[str]) -> list[str | None]:
    """Return each flow's capture, without what its name ends with."""
    return [re.sub(r"(\.(pcap|pcapng|cap|ntar))?(\.gz)?$", "", PurePosixPath(name).name, flags=re.I) for name in files]


def by_table(
    path: Path, column: str | None, files: Sequence[str], ends: Sequence[Ends], *, quiet: bool = False
) -> list[str | None]:
    """Return what a table says of each flow; None of flows that it does not name, or leaves without a label.

    A row names a flow by its transport protocol and both ends, in either direction: addresses with ports in columns of
    their own, or as `10.0.0.1:443` and `[::1]:443`. With a column of captures a row is about that capture alone. Flows
    whose rows differ get no label, and a warning counts them.

    Args:
        path: a CSV, Parquet or Feather file.
        column: of the labels; found by itself if None.
        files: the capture of each flow.
        ends: its ends.
        quiet: do not warn of rows that differ.

    Raises:
        DataError: columns that are missing, or no row that names a flow.
    """
    frame, _ = read_file(path)
    found = {_plain(name): name for name in frame.columns}
    columns = {what: next((found[name] for name in names if name in found), None) for what, names in _NAMES.items()}
    missing = [what for what in ("protocol", "source", "target") if columns[what] is None]
    if missing:
        raise DataError(
            f"{str(path)!r} has no column for the flows' {' and '.join(missing)}: it holds {', '.join(frame.columns)}"
        )
    if column is None:
        column = next((found[name] for name in LABELS if name in found), None)
        if column is None:
            raise DataError(f"{str(path)!r} has no column label: name one of {', '.join(frame.columns)}")
    if column not in frame.columns:
        raise DataError(f"{str(path)!r} has no column {column!r}: {nearest(column, frame.columns)}")
    texts = {what: None if name is None else _texts(frame.columns[name]) for what, name in columns.items()}
    labels = _texts(frame.columns[column])
    known: dict[Key, str | None] = {}
    torn: set[Key] = set()
    for row, label in enumerate(labels):
        key = _key({what: None if values is None else values[row] for what, values in texts.items()})
        if key is None:
            continue
        if known.setdefault(key, label) != label:
            torn.add(key)
    if torn and not quiet:
        warnings.warn(f"{str(path)!r} has two labels each for {len(torn)} flow(s): these get none", stacklevel=4)
    known |= dict.fromkeys(torn)
    named = texts["file"] is not None
    result = [known.get(_own_key(file if named else "", one)) for file, one in zip(files, ends, strict=True)]
    if not any(label is not None for label in result):
        raise DataError(f"no row of {str(path)!r} names a flow of these captures")
    return result


def _own_key(file: str, ends: Ends) -> Key:
    both = sorted([(ends.source, ends.source_port), (ends.target, ends.target_port)])
    return (PurePosixPath(file).name, PROTOCOLS[ends.protocol], tuple(both))


def _key(row: Mapping[str, str | None]) -> Key | None:
    """Return what a row is about; None where it does not say."""
    protocol, source, target = row["protocol"], row["source"], row["target"]
    if protocol is None or source is None or target is None:
        return None
    ends = (_end(source, row["source port"]), _end(target, row["target port"]))
    name = next((name for number, name in PROTOCOLS.items() if protocol in (str(number), name)), protocol.upper())
    return (PurePosixPath(row["file"] or "").name, "ICMPv6" if name == "ICMPV6" else name, tuple(sorted(ends)))


def _end(text: str, port: str | None) -> tuple[str, int]:
    """Return the address and the port, 0 where there is none.

    >>> _end("10.0.0.1:443", None), _end("[::1]:53", None), _end("::1", "53")
    (('10.0.0.1', 443), ('::1', 53), ('::1', 53))
    """
    if port is not None and port.isdigit():
        return _address(text), int(port)
    match = re.fullmatch(r"\[?(.*?)\]?:(\d{1,5})", text)
    if match and (text.startswith("[") or ":" not in match[1]):
        return _address(match[1]), int(match[2])
    return _address(text), 0


def _address(text: str) -> str:
    """Return an address as flows' ends are written; what is none stays as it is, and names no flow."""
    bare = text.strip("[] ")
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        return bare


def _plain(name: str) -> str:
    return name.strip().lower()


def _texts(values: Values) -> list[str | None]:
    if isinstance(values, Words):
        return [None if code < 0 else values.names[code] for code in values.codes]
    return [None if value != value else f"{value:.15g}" for value in values]
