"""What every recipe on sensor windows shares: the recordings, and how they are cut."""

from dataclasses import dataclass

from withstand.core.errors import DataError
from withstand.core.options import Options
from withstand.data.windows.ranges import as_ranges
from withstand.data.windows.source import WindowFiles, WindowSource


@dataclass(frozen=True, kw_only=True)
class WindowSetup(Options):
    """What recipes on sensor windows can be told: recordings, network, budget.

    Args:
        data: a folder USER/DEVICE.csv, or DEVICE.csv of one user; a .npz with x, devices and times; the set wle.
        seconds: how long a window is; as long as makes half a second of wle's short exercises, else 2.
        overlap: share of a window that the next one has in common with it.
        rate: readings a second; the slowest device's own if not said.
        gap: seconds without a reading that no window may cross; ten readings if not said.
        ranges: the largest reading that a sensor can give, as SENSOR=LARGEST, say accel=16; seen in the data if not
            said. No attack goes beyond.
        held_out: users to test on, whose windows are never learnt from; every fifth if not said.
        anchor: the device that will be there in use; the first if not said.
        width: features.
        dropout: after each convolution.
        epochs: passes over the windows.
        batch: windows a step, all of one user; at most the most that a user has.
        learning_rate: of Adam.
        seed: of weights, order and negatives.
        processes: how many train together.
    """

    data: str | WindowSource = "wle"
    seconds: float | None = None
    overlap: float = 0.0
    rate: float | None = None
    gap: float | None = None
    ranges: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()
    anchor: str | None = None
    width: int = 96
    dropout: float = 0.1
    epochs: int = 100
    batch: int = 512
    learning_rate: float = 1e-4
    seed: int = 0
    processes: int = 1


def windows(setup: WindowSetup) -> WindowSource:
    """Return the windows that a setup names.

    Raises:
        DataError: one device, or what `WindowFiles` refuses.
    """
    if isinstance(setup.data, WindowSource):
        source = setup.data
    else:
        usual = 0.5 if setup.data == "wle" else 2.0
        source = WindowFiles(
            setup.data,
            seconds=usual if setup.seconds is None else setup.seconds,
            overlap=setup.overlap,
            rate=setup.rate,
            gap=setup.gap,
            ranges=as_ranges(setup.ranges) or None,
        )
    if len(source.devices) < 2:
        raise DataError(f"there is one device, {source.devices[0]!r}: at least two are contrasted")
    return source
