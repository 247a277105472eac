"""Files of device readings: a folder with a table a device, in one folder a user; or one `.npz` of a common clock.

Sizes: n readings, D devices, C channels.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from withstand.core.errors import DataError, nearest
from withstand.data.arrays.npz import npz_names, read_member, words
from withstand.data.tables.files import SUFFIXES, read_file
from withstand.data.tables.frame import Frame, Words
from withstand.data.tables.written.reading import Written
from withstand.data.windows.clock import Readings, Whole
from withstand.data.windows.columns import TIMES, roles_of, unit_of, whole_numbers_in

_EPOCHS = ((1e17, 1e-9, "ns"), (1e14, 1e-6, "us"), (1e11, 1e-3, "ms"), (0.0, 1.0, "s"))
"""From which number on a bare time is taken as nanoseconds since 1970, and so on: 1973 is 1e8 seconds."""


@dataclass(frozen=True)
class Session:
    """What the devices of one user recorded.

    Attributes:
        user: a name.
        devices: readings by the device's name.
        channels: what each device measures, the same of all.
    """

    user: str
    devices: Mapping[str, Readings]
    channels: tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """What files hold.

    Attributes:
        sessions: one a user.
        classes: the names of labels 0, 1, ...
        notes: what had to be decided or mended, in words.
        skipped: (what, reason) of columns and files that were left out.
    """

    sessions: tuple[Session, ...]
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]


def is_window_folder(path: Path) -> bool:
    """Say whether a folder holds tables of devices: files of tables alone, in it or in its folders, one level down."""
    found = False
    for entry in _below(path):  # ends at the first other file: folders of pictures may hold millions
        if entry.suffix.lower() not in SUFFIXES or not entry.is_file():
            return False
        found = True
    return found


def _below(path: Path) -> Iterator[Path]:
    """Yield what a folder holds, and in place of its folders what these hold; hidden files are left out."""
    if not path.is_dir():
        return
    for entry in path.iterdir():
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from (inner for inner in entry.iterdir() if not inner.name.startswith("."))
        else:
            yield entry


def is_window_npz(path: Path) -> bool:
    """Say whether a `.npz` file holds readings of devices: `x`, `devices`, and times."""
    if path.suffix.lower() != ".npz" or not path.is_file():
        return False
    names = set(npz_names(path))
    return {"x", "devices"} <= names and any(unit_of(name) is not None for name in names)


def read_folder(path: Path) -> Found:
    """Return what the tables of a folder hold: `USER/DEVICE.csv`, or `DEVICE.csv` where there is one user.

    Raises:
        DataError: users with other devices, devices with other channels, tables without a time where lengths differ.
    """
    folders = sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    by_user = {folder.name: _tables(folder) for folder in folders if _tables(folder)}
    own = _tables(path)
    if own and by_user:
        raise DataError(f"{str(path)!r} has tables beside folders of users: put each user's devices in a folder")
    by_user = by_user or {path.name: own}
    names = {user: [file.stem for file in files] for user, files in by_user.items()}
    first = next(iter(names))
    for user, devices in names.items():
        if devices != names[first]:
            raise DataError(f"user {user!r} has devices {_listed(devices)}, and {first!r} {_listed(names[first])}")
    read = {user: {file.stem: _table(file) for file in files} for user, files in by_user.items()}
    known: dict[str, int] = {}
    notes: list[str] = []
    skipped: list[tuple[str, str]] = []
    sessions = []
    for user, tables in read.items():
        _check_channels(user, tables, read[first][names[first][0]].channels)
        sessions.append(_session(user, tables, known, notes, skipped))
    return Found(tuple(sessions), tuple(known), tuple(dict.fromkeys(notes)), tuple(dict.fromkeys(skipped)))


def read_npz(path: Path) -> Found:
    """Return what a file of one clock for all devices holds.

    `x` is `(n, D, C)`, a member such as `t_us` holds times `(n,)`; `devices` `(D,)`, `channels` `(C,)`, `user` `(n,)`
    and labels `y` `(n,)` name what they say.

    Raises:
        DataError: other shapes.
    """
    names = npz_names(path)
    x = np.asarray(read_member(path, "x"))
    time = next(name for name in names if unit_of(name) is not None)
    times, dated = _numbers(np.asarray(read_member(path, time)), f"{path.name}: {time}")
    devices = words(read_member(path, "devices"), "devices")
    if x.ndim != 3 or x.shape[1] != len(devices) or times.shape != x.shape[:1]:
        raise DataError(
            f"{path.name}: x must be (readings, {len(devices)} devices, channels) with as many times, not {x.shape} "
            f"and {times.shape}"
        )
    channels = words(read_member(path, "channels"), "channels") if "channels" in names else _numbered(x.shape[2])
    if len(channels) != x.shape[2]:
        raise DataError(f"{path.name}: {len(channels)} names of channels for {x.shape[2]}")
    users = words(read_member(path, "user"), "user") if "user" in names else (path.stem,) * len(x)
    y = np.asarray(read_member(path, "y")) if "y" in names else None
    for name, given in (("user", users), ("y", y)):
        if given is not None and np.shape(given) != (len(x),):
            raise DataError(f"{path.name}: {name} has shape {np.shape(given)}: {len(x)} are needed, one a reading")
    kinds, coded = ((), np.full(len(x), -1)) if y is None else _coded(y, path.name)
    seconds, note = (times, "") if dated else _seconds(times, unit_of(time) or 0.0)
    sessions, notes = [], [note] if note else []
    for user in sorted(set(users)):
        mine = np.array(users) == user
        held = {}
        for place, device in enumerate(devices):
            held[device], said = Readings.sorted(seconds[mine], x[mine, place].astype(np.float64), coded[mine])
            notes += [said] if said else []
        sessions.append(Session(user, held, channels))
    unread = [name for name in names if name not in ("x", "devices", "channels", "user", "y", time)]
    skipped = tuple((f"array {name!r}", "no readings, times, names or labels") for name in unread)
    return Found(tuple(sessions), kinds, tuple(dict.fromkeys(notes)), skipped)


def _numbers(times: npt.NDArray[Any], where: str) -> tuple[npt.NDArray[np.float64], bool]:
    """Return times as numbers, and whether these are seconds since 1970 already, as dates say."""
    if times.dtype.kind == "M":
        return np.where(np.isnat(times), np.nan, times.astype("datetime64[us]").astype(np.int64) / 1e6), True
    if times.dtype.kind not in "iuf":
        raise DataError(f"{where} must be numbers or dates, not {times.dtype}")
    return times.astype(np.float64), False


def _coded(y: npt.NDArray[Any], where: str) -> tuple[tuple[str, ...], Whole]:
    """Return the names of labels and each reading's place there; -1 where nobody knows: -1, NaN or an empty word."""
    if y.dtype.kind not in "iufbUS":
        raise DataError(f"{where}: labels y must be numbers or words, not {y.dtype}")
    unknown = np.isnan(y) if y.dtype.kind == "f" else np.zeros(len(y), bool)
    unknown |= (y == -1) if y.dtype.kind in "if" else (y == np.zeros((), y.dtype)) if y.dtype.kind in "US" else False
    kinds, labels = np.unique(y[~unknown], return_inverse=True)
    coded = np.full(len(y), -1)
    coded[~unknown] = labels
    if y.dtype.kind == "f":
        return tuple(map(_number, kinds.astype(np.float64).tolist())), coded
    return words(kinds, "y"), coded


@dataclass(frozen=True)
class _Table:
    times: npt.NDArray[np.float64] | None
    values: npt.NDArray[np.float64]
    channels: tuple[str, ...]
    labels: tuple[str | None, ...]
    notes: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]


def _table(file: Path) -> _Table:
    frame, _ = read_file(file)
    roles = roles_of(frame.columns, repr(str(file)))
    skipped = (*((f"column {name!r}", what) for name, what in frame.unread.items()), *roles.skipped)
    times, notes = None, list(roles.notes)
    if roles.time is not None:
        held = frame.columns[roles.time]
        if isinstance(held, Words) and not whole_numbers_in(held):
            raise DataError(f"{str(file)!r}: column {roles.time!r} holds words such as {held.names[0]!r}, no times")
        counted = np.array([*map(float, held.names), np.nan])[held.codes] if isinstance(held, Words) else held
        dated = bool(frame.written.get(roles.time, Written()).date)
        times, note = (counted, "") if dated else _seconds(counted, unit_of(roles.time) or 0.0)
        notes += [note] if note else []
    values = np.stack([np.asarray(frame.columns[name]) for name in roles.channels], 1)
    return _Table(times, values, roles.channels, _words(frame, roles.label), tuple(notes), skipped)


def _session(
    user: str, tables: Mapping[str, _Table], known: dict[str, int], notes: list[str], skipped: list[tuple[str, str]]
) -> Session:
    bare = [device for device, table in tables.items() if table.times is None]
    lengths = {device: len(table.values) for device, table in tables.items()}
    if bare and len(bare) < len(tables):
        raise DataError(f"user {user!r}: {_listed(bare)} has no column of times, and other devices have one")
    if bare and len(set(lengths.values())) > 1:
        told = ", ".join(f"{device} {length:,}" for device, length in lengths.items())
        raise DataError(
            f"user {user!r} has devices of unequal length ({told} rows) and no column of times "
            f"({', '.join(TIMES)}): nobody can tell which rows belong together"
        )
    if bare:
        notes.append("no column of times: rows of the same number were recorded together, one a second")
    elif len(set(lengths.values())) > 1:
        notes.append("devices of unequal length: cut to the time that all cover")
    held = {}
    for device, table in tables.items():
        labels = [-1 if word is None else known.setdefault(word, len(known)) for word in table.labels]
        times = np.arange(float(len(table.values))) if table.times is None else table.times
        try:
            held[device], said = Readings.sorted(times, table.values, np.array(labels, dtype=np.int64))
        except DataError as error:
            raise DataError(f"{device} of user {user!r}: {error}") from None
        notes += [text for text in (said, *table.notes) if text]
        skipped += table.skipped
    return Session(user, held, next(iter(tables.values())).channels)


def _check_channels(user: str, tables: Mapping[str, _Table], wanted: tuple[str, ...]) -> None:
    for device, table in tables.items():
        if table.channels != wanted:
            raise DataError(
                f"{device} of user {user!r} measures {_listed(table.channels)}, and the first device "
                f"{_listed(wanted)}: one encoder reads them all, so that they need the same columns"
            )


def _words(frame: Frame, label: str | None) -> tuple[str | None, ...]:
    if label is None:
        return (None,) * len(frame)
    held = frame.columns[label]
    if isinstance(held, Words):
        return tuple(None if code < 0 else held.names[code] for code in held.codes.tolist())
    return tuple(None if value != value else _number(value) for value in held.tolist())


def _number(value: float) -> str:
    """Return a number's shortest text that no other number has: labels 1000001 and 1000002 are two."""
    return str(int(value)) if value.is_integer() else repr(value)


def _seconds(times: npt.NDArray[np.float64], unit: float) -> tuple[npt.NDArray[np.float64], str]:
    """Return times in seconds, and what was decided; `unit` is the seconds of one, 0 where nobody says."""
    if not np.isfinite(times).any():
        raise DataError("no reading has a time")
    note = ""
    if not unit:
        first = abs(np.nanmin(times))
        unit, name = next((seconds, name) for least, seconds, name in _EPOCHS if first >= least)
        note = f"the column of times names no unit: taken as {name}"
    return times * unit, note  # a common beginning stays: devices are told apart by it


def _tables(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_file() and entry.suffix.lower() in SUFFIXES)


def _listed(names: tuple[str, ...] | list[str]) -> str:
    shown = ", ".join(map(repr, names[:6]))
    return f"{shown} and {len(names) - 6} more" if len(names) > 6 else shown or "none"


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(f"channel {place}" for place in range(count))


def chosen_device(name: str, devices: tuple[str, ...]) -> int:
    """Return a device's place.

    Raises:
        DataError: there is none of that name.
    """
    if name not in devices:
        raise DataError(f"there is no device {name!r}: {nearest(name, devices)}")
    return devices.index(name)
