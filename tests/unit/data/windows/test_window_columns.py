"""Which columns of a device's table are times, labels and readings, in the forms that programs write."""

from pathlib import Path

import numpy as np
import pytest

from withstand.core.errors import DataError
from withstand.data.windows.columns import unit_of
from withstand.data.windows.files import read_folder, read_npz
from withstand.data.windows.ranges import kinds_of_channels

pd = pytest.importorskip("pandas", reason="extra table")
STEPS = np.arange(8)


def written(folder: Path, columns: dict[str, object], **settings: object) -> Path:
    (folder / "anna").mkdir(parents=True)
    pd.DataFrame(columns).to_csv(folder / "anna" / "phone.csv", index=False, **settings)
    return folder


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("Time (s)", 1.0), ("time [ms]", 1e-3), ("t_us", 1e-6), ("TimeStamp", 0.0), ("timestamp_seconds", 1.0),
        ("seconds_elapsed", 1.0), ("elapsed (s)", 1.0), ("time_min", 60.0), ("seconds", 1.0), ("epoch_ms", 1e-3),
        ("Unix time (ns)", None), ("time_of_day", None), ("t_min", None), ("temperature", None), ("step_time", None),
        ("T (C)", None), ("min", None), ("y", None), ("", None),
    ],
)  # fmt: skip
def test_a_unit_is_told_by_the_name(name: str, unit: float | None) -> None:
    assert unit_of(name) == unit


@pytest.mark.parametrize("name", ["Time (s)", "time [ms]", "timestamp_seconds", "elapsed_us", "t_sec"])
def test_times_are_no_readings_however_their_unit_is_written(tmp_path: Path, name: str) -> None:
    unit = unit_of(name)
    assert unit is not None
    found = read_folder(written(tmp_path / "lab", {name: STEPS * 10, "Acceleration x (m/s^2)": STEPS * 0.5}))
    (session,) = found.sessions
    assert session.channels == ("Acceleration x (m/s^2)",)
    np.testing.assert_allclose(session.devices["phone"].times, STEPS * 10 * unit)
    assert not found.notes


def test_axes_called_by_their_letter_are_readings_of_one_sensor(tmp_path: Path) -> None:
    nano = 1_600_000_000_000_000_000 + STEPS * 10_000_000
    columns = {"time": nano, "seconds_elapsed": STEPS * 0.01, "z": STEPS * 0.5, "y": STEPS * 2, "x": STEPS * 1.5}
    found = read_folder(written(tmp_path / "lab", columns))
    (session,) = found.sessions
    assert (session.channels, found.classes) == (("z", "y", "x"), ())
    np.testing.assert_array_equal(session.devices["phone"].values[:, 1], STEPS * 2)
    np.testing.assert_allclose(np.diff(session.devices["phone"].times), 0.01, atol=1e-6)
    assert ("column 'seconds_elapsed'", "another column of times beside 'time'") in found.skipped
    assert any("'y' is taken as an axis" in note for note in found.notes)
    assert set(kinds_of_channels(session.channels)) == {"xyz"}


def test_a_y_of_words_or_alone_is_a_label(tmp_path: Path) -> None:
    walks = np.array(["walk", "run"])[STEPS % 2]
    for place, columns in enumerate(({"x": STEPS * 0.5, "y": walks}, {"pulse": STEPS * 0.5, "y": STEPS % 2})):
        found = read_folder(written(tmp_path / str(place), {"time_s": STEPS, **columns}))
        assert len(found.classes) == 2
        assert len(found.sessions[0].channels) == 1


@pytest.mark.parametrize("values", [[1_000_001, 1_000_002], [0.12345678, 0.12345679], [1e-12, 2e-12], [3, -3]])
def test_labels_that_differ_stay_different(tmp_path: Path, values: list[float]) -> None:
    labels = np.array(values)[STEPS % 2]
    found = read_folder(written(tmp_path / "lab", {"time_s": STEPS, "pulse": STEPS * 0.5, "label": labels}))
    assert [float(name) for name in found.classes] == values
    np.testing.assert_array_equal(found.sessions[0].devices["phone"].labels, STEPS % 2)


def test_what_is_no_reading_is_left_out_and_said(tmp_path: Path) -> None:
    columns = {"": STEPS, "time_s": STEPS, "pulse": STEPS * 0.5, "label": STEPS % 2, "activity": STEPS % 3}
    found = read_folder(written(tmp_path / "lab", columns))
    assert found.sessions[0].channels == ("pulse",)
    assert dict(found.skipped) == {
        "column 'column 1'": "has no name, as numbers of rows have none",
        "column 'activity'": "another column of labels beside 'label'",
    }


def test_a_column_that_may_be_of_times_is_asked_about(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'time_of_day' may say when readings were taken"):
        read_folder(written(tmp_path / "one", {"time_of_day": STEPS, "pulse": STEPS * 0.5}))
    clock = [f"10:00:0{step}" for step in STEPS]
    with pytest.raises(DataError, match="'date' and 'time' say together when"):
        read_folder(written(tmp_path / "two", {"date": "2024-12-31", "time": clock, "pulse": STEPS * 0.5}))


def test_dates_are_times_whatever_unit_the_name_says(tmp_path: Path) -> None:
    dates = pd.date_range("2024-12-31 10:00", periods=8, freq="20ms")
    found = read_folder(written(tmp_path / "lab", {"timestamp_ms": dates, "pulse": STEPS * 0.5}))
    np.testing.assert_allclose(np.diff(found.sessions[0].devices["phone"].times), 0.02, atol=1e-6)
    assert not found.notes


def test_arrays_of_one_clock(tmp_path: Path) -> None:
    held = {"x": np.random.default_rng(0).normal(size=(8, 1, 2)), "devices": np.array(["phone"])}
    dates = np.datetime64("2024-12-31") + STEPS.astype("timedelta64[D]")
    np.savez(tmp_path / "a.npz", **held, time=dates, y=np.array([1.5, np.nan] * 4), weights=STEPS)
    found = read_npz(tmp_path / "a.npz")
    readings = found.sessions[0].devices["phone"]
    np.testing.assert_array_equal(np.diff(readings.times), 86_400)
    assert found.classes == ("1.5",)
    np.testing.assert_array_equal(readings.labels, [0, -1] * 4)
    assert found.skipped == (("array 'weights'", "no readings, times, names or labels"),)
    np.savez(tmp_path / "b.npz", **held, t_s=STEPS, y=np.array([b"walk", b""] * 4))
    assert read_npz(tmp_path / "b.npz").classes == ("walk",)
    for name, wrong in (("y", STEPS[:3]), ("user", STEPS[:3]), ("t_s", STEPS.astype(str))):
        np.savez(tmp_path / "c.npz", **{**held, "t_s": STEPS, name: wrong})
        with pytest.raises(DataError, match=name):
            read_npz(tmp_path / "c.npz")
