"""Windows of devices that record at the same time, as a source: each sample holds every device's window.

Sizes: N windows, D devices, C channels, T readings of a window.
"""

import os
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.roles import Indices, Source
from withstand.data.derived.subset import Subset
from withstand.data.pictures.named import VARIABLE
from withstand.data.shared.digest import as_indices, digest
from withstand.data.windows.clock import STEPS_IN_A_GAP, Readings, cut, on_grid, starts
from withstand.data.windows.files import Found, is_window_folder, is_window_npz, read_folder, read_npz
from withstand.data.windows.ranges import check_ranges, kinds_of_channels, ranges_of

WINDOWS = {"wle": "har/wle_4devices.npz"}
"""Sets of windows that are known by name, and their files under $WITHSTAND_DATA."""
USER = "user"
"""The attribute that says whose a window is."""


class WindowSource(Source):
    """Windows of several devices, each channel divided by the range of its kind of sensor: numbers in [-1, 1].

    A user's windows stand together, in the order of time.

    Args:
        x: readings in the sensors' units `(N, D, C, T)`, an array or a tensor; NaN nowhere.
        devices: what each device is called.
        channels: what each channel measures; axes of one sensor end in `_x`, `_y`, `_z` and share a range.
        users: whose each window is, names or numbers `(N,)`, each user's together; None where there is one.
        labels: what went on, int64 `(N,)`, -1 where nobody knows; None without.
        classes: the names of labels 0, 1, ...
        ranges: the largest reading that each kind of sensor can give, by its name (`accel` of `accel_x`); of the
            others the largest that these windows hold, outliers set aside, see `ranges_of`.

    Attributes:
        devices: what each is called.
        channels: what each measures.
        ranges: of every kind of sensor.
        users: their names; attribute "user" holds each window's place there.

    Raises:
        DataError: shapes that do not fit, readings that are no numbers, users whose windows lie apart.
    """

    kind = "window"
    low, high = -1.0, 1.0
    neighbors = 0
    """How many windows after one have readings in common with it."""

    def __init__(
        self,
        x: Any,
        devices: Sequence[str],
        channels: Sequence[str],
        *,
        users: Sequence[Any] | None = None,
        labels: Any = None,
        classes: Sequence[str] = (),
        ranges: Mapping[str, float] | None = None,
    ) -> None:
        values = torch.as_tensor(np.asarray(x)).to(torch.float32)
        if values.dim() != 4 or values.shape[1:3] != (len(devices), len(channels)) or not values.numel():
            wanted = f"(windows, {len(devices)} devices, {len(channels)} channels, readings)"
            raise DataError(f"windows have shape {wanted}, not {tuple(values.shape)}")
        if not bool(values.isfinite().all()):
            raise DataError("windows hold readings that are NaN or infinite")
        self.devices, self.channels = tuple(map(str, devices)), tuple(map(str, channels))
        check_ranges(ranges or {}, self.channels)
        self.ranges, self._cut_off = ranges_of(values, self.channels, ranges or {})
        scale = torch.tensor([self.ranges[kind] for kind in kinds_of_channels(self.channels)])
        self._x = (values / scale[:, None]).clamp_(-1, 1)
        named = ["all"] * len(values) if users is None else list(map(str, users))
        self.users = tuple(dict.fromkeys(named))
        whose = torch.tensor([self.users.index(name) for name in named])
        if len(named) != len(values) or bool((whose.diff() < 0).any()):
            raise DataError(f"{len(named)} users for {len(values)} windows: one each is needed, a user's together")
        self._user = whose
        self._labels = None if labels is None else torch.as_tensor(np.asarray(labels)).to(torch.int64)
        if self._labels is not None and self._labels.shape != (len(values),):
            raise DataError(f"{len(self._labels)} labels for {len(values)} windows")
        if self._labels is not None and bool((self._labels < 0).all()):
            self._labels = None
        self._classes = tuple(classes) if self._labels is not None else ()
        self.name = "windows"
        if self._cut_off:
            self.origin = f"{self.origin}; {self._cut_off}"

    @classmethod
    def example(cls) -> Self:
        generator = torch.Generator().manual_seed(0)
        time = torch.arange(12) / 12
        phase, pace = torch.rand(8, 1, 1, 1, generator=generator), 1 + torch.arange(8)[:, None, None, None] % 2
        x = torch.sin(6.283 * (pace * time + phase)) + 0.2 * torch.randn(8, 3, 3, 12, generator=generator)
        users = ["anna"] * 4 + ["ben"] * 4
        names = ("wrist", "hip", "ankle"), ("accel_x", "accel_y", "accel_z")
        return cls(x, *names, users=users, labels=torch.arange(8) % 2, classes=("walk", "run"))

    def __len__(self) -> int:
        return len(self._x)

    def __getitem__(self, indices: Indices) -> Batch:
        chosen = as_indices(indices, len(self))
        return Batch(self._x[chosen], chosen, None if self._labels is None else self._labels[chosen])

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._x.shape[1:])

    @property
    def labels(self) -> Tensor | None:
        return self._labels

    @property
    def classes(self) -> tuple[str, ...]:
        return self._classes

    @property
    def attributes(self) -> Mapping[str, Tensor]:
        return {USER: self._user}

    @property
    def group_names(self) -> Mapping[str, tuple[str, ...]]:
        return {USER: self.users}

    @property
    def fields(self) -> Mapping[str, tuple[int, ...]]:
        return {name: (place,) for place, name in enumerate(self.devices)}

    def fingerprint(self) -> str:
        return digest(self, *self.devices, *self.channels, *self.users, str(self._user.tolist()))


class WindowFiles(WindowSource):
    """Windows cut from files: clocks of their own are brought onto one, and no window crosses a gap.

    What had to be decided or left out on the way stands in `origin` and `skipped`.

    Args:
        data: a folder `USER/DEVICE.csv` (or `DEVICE.csv` where there is one user) of tables with a column of times and
            one of each channel, and perhaps of labels; a `.npz` file of one clock; or a set's name, `wle`.
        seconds: how long a window is.
        overlap: share of a window that the next one has in common with it, from 0 to below 1.
        rate: readings a second of the common clock; None for the slowest device's own.
        gap: seconds without a reading that no window may cross; None for ten steps of the common clock.
        ranges: as for `WindowSource`.

    Attributes:
        rate: readings a second.

    Raises:
        DataError: files that cannot be read, or that hold no whole window.
        ConfigError: settings out of range.
    """

    def __init__(
        self,
        data: str | Path,
        *,
        seconds: float = 2.0,
        overlap: float = 0.0,
        rate: float | None = None,
        gap: float | None = None,
        ranges: Mapping[str, float] | None = None,
    ) -> None:
        if not seconds > 0 or (rate is not None and not rate > 0) or (gap is not None and not gap > 0):
            raise ConfigError(f"seconds, rate and gap must be above 0, not {seconds!r}, {rate!r} and {gap!r}")
        if not 0 <= overlap < 1:
            raise ConfigError(f"overlap must be at least 0 and below 1, not {overlap!r}")
        path = _path(data)
        found = read_npz(path) if path.is_file() else read_folder(path)
        every = [one for session in found.sessions for one in session.devices.values()]
        slowest = max(one.step for one in every)
        # A rate that is whole within a tenth of a percent is meant so.
        self.rate = rate or (round(1 / slowest) if abs(slowest * round(1 / slowest) - 1) < 1e-3 else 1 / slowest)
        self.length = round(seconds * self.rate)
        if self.length < 2:
            raise DataError(
                f"a window of {seconds:g} s holds {self.length} reading(s), for the slowest device gives one every "
                f"{slowest:.3g} s: use seconds of at least {2 / self.rate:.3g}"
            )
        stride = max(1, round(self.length * (1 - overlap)))
        self.neighbors = -(-self.length // stride) - 1
        width = STEPS_IN_A_GAP / self.rate if gap is None else gap
        pieces, labels, users = _cut_all(found, self.rate, width, self.length, stride)
        short = sum(piece[1] for piece in pieces)
        x = np.concatenate([piece[0] for piece in pieces])
        if not len(x):
            raise DataError(
                f"{str(data)!r} holds no window of {seconds:g} s without a gap of {width:.3g} s; {short} stretches are "
                "shorter: use fewer seconds or a longer gap"
            )
        first = found.sessions[0]
        super().__init__(
            x, tuple(first.devices), first.channels, users=users, labels=labels, classes=found.classes, ranges=ranges
        )
        self.name = str(data) if data in WINDOWS else path.stem
        notes = [*found.notes, *_clocks(every, self.rate), *([self._cut_off] if self._cut_off else [])]
        self.origin = "; ".join([f"the {'file' if path.is_file() else 'folder'} {data}", *notes])
        self.skipped = found.skipped
        if short:
            self.skipped += ((f"{short} stretches between gaps", f"shorter than a window of {seconds:g} s"),)
        if mixed := int((torch.as_tensor(labels) < 0).sum()) if found.classes else 0:
            self.origin += f"; {mixed:,} windows in which the label changes, or that have none, carry none"
        if lost := [session.user for session in found.sessions if session.user not in self.users]:
            warnings.warn(f"users without a whole window are left out: {', '.join(lost[:5])}", stacklevel=2)

    @classmethod
    def example(cls) -> Self:
        from tempfile import TemporaryDirectory

        time = np.arange(0, 6, 0.1)
        with TemporaryDirectory(prefix="withstand-") as folder:
            for place, device in enumerate(("wrist", "hip")):
                lines = [f"{at:.1f},{np.sin(2 * at + place):.4f},{np.cos(at):.4f}" for at in time]
                text = "\n".join(["time_s,accel_x,accel_y", *lines])
                (Path(folder) / "anna").mkdir(exist_ok=True)
                (Path(folder) / "anna" / f"{device}.csv").write_text(text + "\n", encoding="utf-8")
            made = cls(folder, seconds=1.0)
        made.name, made.origin = "windows", "an example"
        return made

    def like(self, data: Any, split: str = "all") -> Source:
        """Return other recordings cut as these were; devices and channels must have the same names."""
        if isinstance(data, Source):
            whole: Source = data
        else:
            mine = self._init_args
            same = {"seconds": self.length / self.rate, "overlap": mine["overlap"], "gap": mine["gap"]}
            whole = WindowFiles(data, rate=self.rate, ranges=self.ranges, **same)
        if not isinstance(whole, WindowSource):
            raise DataError(f"windows of {len(self.devices)} devices are needed, not {whole.kind}s")
        for what in ("devices", "channels"):
            if getattr(whole, what) != getattr(self, what):
                raise DataError(f"{what} were {', '.join(getattr(self, what))}, not {', '.join(getattr(whole, what))}")
        return whole if split == "all" else divided(whole)[split == "test"]


class WindowPart(Subset):
    """The windows that are learnt from, or those to test on: other users', or of one user the last fifth of time.

    Args:
        source: the whole.
        part: "train" or "test".
        held_out: the users to test on; if none are named, every fifth, the first among them.

    Raises:
        ConfigError: an unknown user or part, or all users.
        DataError: one window.
    """

    source: WindowSource

    def __init__(self, source: WindowSource, part: str, held_out: Sequence[str] = ()) -> None:
        if part not in ("train", "test"):
            raise ConfigError(f"unknown part {part!r}: 'train' or 'test'")
        tested = _tested(source, held_out)
        rows = (tested if part == "test" else ~tested).nonzero()[:, 0]
        # Of one user the first windows after the border have readings in common with what is learnt from.
        shared = source.neighbors if part == "test" and len(source.users) == 1 else 0
        super().__init__(source, rows[min(shared, len(rows) - 1) :])

    @classmethod
    def example(cls) -> Self:
        return cls(WindowSource.example(), "train")


def divided(source: WindowSource, held_out: Sequence[str] = ()) -> tuple[WindowPart, WindowPart]:
    """Return (train, test); arguments and errors as of `WindowPart`."""
    return WindowPart(source, "train", held_out), WindowPart(source, "test", held_out)


def _tested(source: WindowSource, held_out: Sequence[str]) -> Tensor:
    """Return which windows are tested on, bool `(N,)`."""
    for name in held_out:
        if name not in source.users:
            raise ConfigError(f"there is no user {name!r} to hold out: {nearest(name, source.users)}")
    if len(source.users) == 1:
        if held_out:
            raise ConfigError(f"{held_out[0]!r} is the only user: nobody is left to learn from")
        if len(source) < 2:
            raise DataError("one window cannot be divided in two")
        return torch.arange(len(source)) >= min(max(round(0.8 * len(source)), 1), len(source) - 1)
    names = held_out or source.users[::5]
    tested = torch.isin(source.attributes[USER], torch.tensor([source.users.index(name) for name in names]))
    if bool(tested.all()):
        raise ConfigError(f"all {len(source.users)} users are held out: nobody is left to learn from")
    return tested


def is_windows(data: object) -> bool:
    """Say whether these are windows: a set's name, a folder of device tables, a `.npz` of devices, or a source."""
    if isinstance(data, WindowSource):
        return True
    if not isinstance(data, str | Path):
        return False
    path = Path(data).expanduser()
    return (isinstance(data, str) and data in WINDOWS) or is_window_npz(path) or is_window_folder(path)


def _path(data: str | Path) -> Path:
    if isinstance(data, str) and data in WINDOWS:
        path = Path(os.environ.get(VARIABLE, "")) / WINDOWS[data]
        if not path.is_file():
            raise DataError(f"the set {data!r} is not on this machine: {VARIABLE} names no folder with {WINDOWS[data]}")
        return path
    path = Path(data).expanduser()
    if not is_windows(data):
        raise DataError(
            f"{str(data)!r} holds no windows: a folder with a table a device, in one folder a user, a .npz with x, "
            f"devices and times, or a set: {nearest(str(data), WINDOWS)}"
        )
    return path


def _cut_all(
    found: Found, rate: float, gap: float, length: int, stride: int
) -> tuple[list[tuple[Any, int]], list[int], list[str]]:
    """Return each user's windows with how many stretches were too short; every window's label and user."""
    pieces: list[tuple[Any, int]] = []
    labels: list[int] = []
    users: list[str] = []
    for session in found.sessions:
        try:
            grid = on_grid(tuple(session.devices.values()), rate, gap)
        except DataError as error:
            raise DataError(f"user {session.user!r}: {error}") from None
        begin, short = starts(grid.known, length, stride)
        windows, told = cut(grid, begin, length)
        pieces.append((windows, short))
        labels += told.tolist()
        users += [session.user] * len(windows)
    return pieces, labels, users


def _clocks(devices: Sequence[Readings], rate: float) -> list[str]:
    """Return what is to be said of the clocks."""
    irregular = sum(not one.regular for one in devices)
    other = sum(one.regular and abs(one.step * rate - 1) > 0.01 for one in devices)
    said = Counter({"irregular clocks": irregular, "clocks of another rate": other})
    told = [f"{count} of {len(devices)} {what}" for what, count in said.items() if count]
    by = f"resampled to {rate:.4g} readings a second by linear interpolation"
    return [f"{' and '.join(told)} {by}"] if told else [f"{rate:.4g} readings a second"]
