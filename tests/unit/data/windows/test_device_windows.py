"""Device recordings become windows: clocks, gaps, users, ranges, and what is said of them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from withstand.core.errors import ConfigError, DataError
from withstand.data.load import load
from withstand.data.windows import clock
from withstand.data.windows.clock import Readings, cut, on_grid, starts
from withstand.data.windows.ranges import acceleration, as_ranges, kind_of, norms
from withstand.data.windows.source import WindowFiles, WindowSource, divided, is_windows

pd = pytest.importorskip("pandas", reason="extra table")


def record(
    folder: Path, user: str, device: str, times: np.ndarray, *, late: float = 0.0, label: str | None = "walk"
) -> None:
    """A device's CSV, whose readings are plain functions of the time."""
    columns: dict[str, object] = {"time_s": times, "accel_x": np.sin(times - late), "accel_y": 2 * times}
    if label is not None:
        columns["activity"] = np.where(times < times.max() / 2, label, "run")
    target = folder / user / f"{device}.csv"
    target.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(columns).to_csv(target, index=False)


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    for user, begin in (("anna", 0.0), ("ben", 100.0)):
        for device in ("hip", "wrist"):
            record(tmp_path / "lab", user, device, begin + np.arange(0, 20, 0.1))
    return tmp_path / "lab"


def test_windows_hold_what_the_files_do(recordings: Path) -> None:
    source = WindowFiles(recordings, seconds=2.0, ranges={"accel": 300.0})
    assert (source.rate, source.shape, source.kind) == (10, (2, 2, 20), "window")
    assert source.devices == ("hip", "wrist")
    assert source.users == ("anna", "ben")
    table = pd.read_csv(recordings / "ben" / "wrist.csv")
    first = int((source.attributes["user"] == 0).sum())
    expected = table[["accel_x", "accel_y"]].to_numpy()[20:40].T / 300
    np.testing.assert_allclose(source[[first + 1]].x[0, 1].numpy(), expected, atol=1e-6)
    assert source.classes == ("walk", "run")
    assert source.labels is not None
    assert set(source.labels.tolist()) <= {-1, 0, 1}
    loaded = load(recordings)
    assert isinstance(loaded, WindowFiles)
    assert loaded.kind == "window"


def test_irregular_clocks_of_other_rates_meet_on_one_and_are_said(tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    record(tmp_path / "lab", "anna", "hip", np.arange(0, 20, 0.05), label=None)
    record(tmp_path / "lab", "anna", "wrist", np.sort(draws.uniform(0, 20, 400)), label=None)
    source = WindowFiles(tmp_path / "lab", seconds=1.0, rate=20, gap=1.0, ranges={"accel": 40.0})
    assert "1 of 2 irregular clocks resampled to 20 readings a second by linear interpolation" in source.origin
    # A linear channel is interpolated without error, so that the devices agree on it at every moment.
    x = source[torch.arange(len(source))].x
    torch.testing.assert_close(x[:, 0, 1], x[:, 1, 1], atol=1e-5, rtol=0)


def test_no_window_crosses_a_gap(tmp_path: Path) -> None:
    times = np.arange(0, 20, 0.1)
    record(tmp_path / "lab", "anna", "hip", times, label=None)
    record(tmp_path / "lab", "anna", "wrist", times[(times < 5) | (times > 9.05)], label=None)
    source = WindowFiles(tmp_path / "lab", seconds=1.0, ranges={"accel": 40.0})
    middle = source[torch.arange(len(source))].x[:, 0, 1] * 20  # the time of each reading
    assert not bool(((middle > 5.01) & (middle < 9.05)).any())
    assert len(source) == 5 + 10
    assert WindowFiles(tmp_path / "lab", seconds=1.0, gap=5.0).skipped == ()
    with pytest.raises(DataError, match="no window of 12 s"):
        WindowFiles(tmp_path / "lab", seconds=12)


def test_starts_by_a_plain_loop() -> None:
    known = np.random.default_rng(1).random(200) < 0.9
    found, short = starts(known, 4, 2)
    expected, runs, begin = [], 0, 0
    for end in range(201):
        if end == 200 or not known[end]:
            if end - begin >= 4:
                expected += list(range(begin, end - 3, 2))
            elif end > begin:
                runs += 1
            begin = end + 1
    assert found.tolist() == expected
    assert short == runs


def test_interpolation_is_numpys() -> None:
    draws = np.random.default_rng(2)
    times = [np.sort(draws.uniform(0, 10, 50)) for _ in range(2)]
    values = [draws.normal(size=(50, 3)) for _ in range(2)]
    devices = [Readings(t, v, np.full(50, -1)) for t, v in zip(times, values, strict=True)]
    grid = on_grid(devices, 7.0, 100.0)
    at = max(t[0] for t in times) + np.arange(len(grid.values)) / 7
    for place in range(2):
        for channel in range(3):
            expected = np.interp(at, times[place], values[place][:, channel])
            np.testing.assert_allclose(grid.values[:, place, channel], expected, atol=1e-6)
    assert at[-1] <= min(t[-1] for t in times) < at[-1] + 1 / 7


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6))
def test_points_deep_in_gaps_are_left_out_and_no_window_is_another(seed: int) -> None:
    """Beside a grid of all points, as the devices' times have gaps, lone readings, and readings on the grid."""
    draws = np.random.default_rng(seed)
    devices = []
    for _ in range(draws.integers(1, 4)):
        steps = draws.choice([0.1, 0.1, 0.1, 0.05, 0.37, 1.0, 4.0, 30.0], draws.integers(2, 80))
        times = draws.choice([0.0, 0.03]) + np.cumsum(steps)
        devices.append(Readings(times, draws.normal(size=(len(times), 2)), draws.integers(-1, 3, len(times))))
    gap, length = float(draws.choice([0.1, 0.5, 2.0])), int(draws.integers(2, 6))
    try:
        grid = on_grid(devices, 10.0, gap)
    except DataError:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "_points", lambda devices, first, count, rate, gap: np.arange(count))
        whole = on_grid(devices, 10.0, gap)
    assert grid.known.sum() <= whole.known.sum()
    found, wanted = (cut(one, starts(one.known, length, 1)[0], length) for one in (grid, whole))
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


def test_one_false_time_fills_no_memory() -> None:
    times = np.concatenate([np.arange(0, 10, 0.1), [1.7e9]])
    grid = on_grid([Readings(times, np.zeros((len(times), 1)), np.zeros(len(times), np.int64))], 10.0, 1.0)
    assert len(grid.known) < 120
    assert grid.known[:100].all()
    # A step of a nanosecond makes a window of a second longer than any memory: there is none, and nothing is laid out.
    assert cut(grid, np.empty(0, np.int64), 10**12)[0].shape == (0, 1, 1, 10**12)


def test_doubled_and_unsorted_readings_are_mended_and_said() -> None:
    times, values = np.array([2.0, 0.0, 0.0, 1.0, np.nan]), np.array([[1.0], [2.0], [4.0], [5.0], [6.0]])
    mended, said = Readings.sorted(times, values, np.array([3, 1, 1, 2, 0]))
    assert mended.times.tolist() == [0, 1, 2]
    assert mended.values[:, 0].tolist() == [3, 5, 1]
    assert mended.labels.tolist() == [1, 2, 3]
    assert "1 readings without a time" in said
    assert "sorted by time" in said
    assert "1 readings of an instant" in said


def test_devices_of_unequal_length(tmp_path: Path) -> None:
    for device, count in (("hip", 100), ("wrist", 80)):
        record(tmp_path / "lab", "anna", device, np.arange(count) * 0.1, label=None)
    source = WindowFiles(tmp_path / "lab", seconds=1.0)
    assert "devices of unequal length: cut to the time that all cover" in source.origin
    assert len(source) == 8
    for device in ("hip", "wrist"):
        path = tmp_path / "lab" / "anna" / f"{device}.csv"
        pd.read_csv(path).drop(columns="time_s").to_csv(path, index=False)
    with pytest.raises(DataError, match=r"unequal length \(hip 100, wrist 80 rows\) and no column of times"):
        WindowFiles(tmp_path / "lab", seconds=1.0)


def test_what_does_not_fit_is_refused_in_one_line(recordings: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds 0 reading"):
        WindowFiles(recordings, seconds=0.01)
    with pytest.raises(ConfigError, match="overlap"):
        WindowFiles(recordings, overlap=1.0)
    with pytest.raises(ConfigError, match="no sensor 'acel'"):
        WindowFiles(recordings, ranges={"acel": 3.0})
    with pytest.raises(ConfigError, match="SENSOR=LARGEST"):
        as_ranges(["accel:3"])
    with pytest.raises(DataError, match="holds no windows"):
        WindowFiles(tmp_path / "nothing")
    record(recordings, "carla", "hip", np.arange(0, 9, 0.1))
    with pytest.raises(DataError, match="user 'carla' has devices 'hip'"):
        WindowFiles(recordings)
    record(recordings, "carla", "wrist", np.arange(50, 59, 0.1))
    with pytest.raises(DataError, match="user 'carla': the devices recorded at no common time"):
        WindowFiles(recordings)


def test_users_are_left_out_whole_and_one_users_time_is_divided(recordings: Path) -> None:
    source = WindowFiles(recordings, seconds=1.0)
    train, test = divided(source, ("ben",))
    assert set(train.attributes["user"].tolist()) == {0}
    assert set(test.attributes["user"].tolist()) == {1}
    assert len(train) + len(test) == len(source)
    for wrong in (("bene",), ("anna", "ben")):
        with pytest.raises(ConfigError, match=r"no user|all 2 users"):
            divided(source, wrong)
    alone = WindowFiles(recordings / "anna", seconds=1.0, overlap=0.5)
    train, test = divided(alone)
    # A second user's time is elsewhere; of one user no reading is on both sides.
    assert float(train[[len(train) - 1]].x[0, 0, 1, -1]) < float(test[[0]].x[0, 0, 1, 0])


def test_other_recordings_are_read_as_these_were(recordings: Path, tmp_path: Path) -> None:
    source = WindowFiles(recordings, seconds=1.0)
    for device in ("hip", "wrist"):
        record(tmp_path / "new", "dora", device, np.arange(0, 30, 0.05))
    other = source.like(tmp_path / "new")
    assert isinstance(other, WindowSource)
    assert (other.shape, other.ranges) == (source.shape, source.ranges)
    record(tmp_path / "third", "dora", "hip", np.arange(0, 30, 0.05))
    with pytest.raises(DataError, match="devices were hip, wrist, not hip"):
        source.like(tmp_path / "third")


def test_ranges_set_outliers_aside_and_axes_share_one() -> None:
    x = torch.randn(50, 2, 4, 20, generator=torch.Generator().manual_seed(0))
    x[3, 1, 0, 5] = 900.0
    source = WindowSource(x, ("a", "b"), ("acc_x", "acc_y", "acc_z", "pulse"))
    assert source.ranges["acc"] < 20
    assert "1 readings of acc cut off" in source.origin
    whole = source[torch.arange(50)].x
    assert float(whole.abs().max()) == 1
    # The three axes are divided by one number: a turned sensor keeps the length of its vector.
    turn, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1)))
    turned = torch.einsum("ij,ndjt->ndit", turn, whole[:, :, :3])
    torch.testing.assert_close(norms(turned, (0, 1, 2)), norms(whole, (0, 1, 2)))
    assert [kind_of(name) for name in ("accel_x", "gyros_*_z", "Acc X", "heart rate")] == [
        "accel", "gyros", "acc", "heart rate",
    ]  # fmt: skip
    assert acceleration(("gyro_x", "gyro_y", "acc_x", "acc_y")) == (2, 3)


def test_a_compact_file_of_one_clock(tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    x = draws.normal(size=(60, 2, 3)).astype(np.float32)
    np.savez(
        tmp_path / "four.npz", x=x, devices=np.array(["a", "b"]), channels=np.array(["acc_x", "acc_y", "acc_z"]),
        t_ms=np.arange(60) * 20, user=np.repeat(["u", "v"], 30), y=np.repeat([3, 5], 30),
    )  # fmt: skip
    source = WindowFiles(tmp_path / "four.npz", seconds=0.2)
    assert (source.rate, source.users, source.classes) == (50, ("u", "v"), ("3", "5"))
    scale = source.ranges["acc"]
    np.testing.assert_allclose(source[[1]].x[0].numpy() * scale, x[10:20].transpose(1, 2, 0), atol=1e-5)
    assert is_windows(tmp_path / "four.npz")
