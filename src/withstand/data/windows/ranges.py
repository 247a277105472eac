"""What sensors can give at most: by it readings become numbers in [-1, 1], which no attack may leave either.

Sizes: N windows, D devices, C channels, T readings of a window.
"""

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from withstand.core.errors import ConfigError, nearest

_FAR = 4.0
"""A reading of more than so many times the 99.9 % quantile is an outlier, and no sign of a sensor's range."""
_AXIS = re.compile(r"[ _.-]?[xyz]$", re.IGNORECASE)
_UNIT = re.compile(r"\s*(\([^()]*\)|\[[^\[\]]*\])$")
ACCELERATION = ("acc", "accel", "accelerometer", "acceleration", "linacc")
"""Beginnings of channels that measure acceleration."""


def kind_of(channel: str) -> str:
    """Return the sensor that a channel is an axis of.

    Axes that are called by their letter alone are those of one sensor, "xyz".

    >>> kind_of("accel_x"), kind_of("gyros_*_z"), kind_of("heart rate"), kind_of("Acceleration y (m/s^2)"), kind_of("z")
    ('accel', 'gyros', 'heart rate', 'acceleration', 'xyz')
    """
    bare = _UNIT.sub("", channel.strip())
    if bare.lower() in ("x", "y", "z"):
        return "xyz"
    bare = _AXIS.sub("", bare)
    return bare.replace("_*", "").strip("_ .-").lower() or channel.strip().lower()


def kinds_of_channels(channels: Sequence[str]) -> tuple[str, ...]:
    """Return the sensor of each channel."""
    return tuple(map(kind_of, channels))


def acceleration(channels: Sequence[str]) -> tuple[int, ...]:
    """Return the places of the channels that measure acceleration; of the first sensor's where none says so."""
    kinds = kinds_of_channels(channels)
    known = [kind for kind in kinds if kind.split("_")[0].split(" ")[0] in ACCELERATION]
    wanted = known[0] if known else kinds[0]
    return tuple(place for place, kind in enumerate(kinds) if kind == wanted)


def check_ranges(ranges: Mapping[str, float], channels: Sequence[str]) -> None:
    """Refuse ranges of no sensor, or that are not above 0.

    Raises:
        ConfigError: names it.
    """
    kinds = set(kinds_of_channels(channels))
    for kind, value in ranges.items():
        if kind not in kinds:
            raise ConfigError(f"there is no sensor {kind!r} to give a range of: {nearest(kind, sorted(kinds))}")
        if not 0 < value < float("inf"):
            raise ConfigError(f"the range of {kind!r} must be a number above 0, not {value!r}")


def ranges_of(x: Tensor, channels: Sequence[str], given: Mapping[str, float]) -> tuple[dict[str, float], str]:
    """Return the range of every sensor, and in words how many readings lie beyond, which are cut off there.

    Where none is given it is the largest reading, but at most four times the 99.9 % quantile.

    Args:
        x: readings `(N, D, C, T)`.
        channels: what each channel measures.
        given: ranges that are known.
    """
    kinds = kinds_of_channels(channels)
    found: dict[str, float] = {}
    said = []
    for kind in dict.fromkeys(kinds):
        sizes = x[:, :, [place for place, one in enumerate(kinds) if one == kind]].abs().flatten()
        if kind in given:
            found[kind] = float(given[kind])
        else:
            rank = max(1, round(0.999 * len(sizes)))
            usual = float(sizes.kthvalue(rank).values)
            found[kind] = min(float(sizes.max()), _FAR * usual) or 1.0
        beyond = int((sizes > found[kind]).sum())
        if beyond:
            said.append(f"{beyond:,} readings of {kind} cut off at {found[kind]:.4g}")
    return found, ", ".join(said)


def as_ranges(words: Sequence[str]) -> dict[str, float]:
    """Return ranges from words such as `accel=16`.

    Raises:
        ConfigError: a word of another form.
    """
    found: dict[str, float] = {}
    for word in words:
        kind, equals, value = word.partition("=")
        try:
            found[kind.strip()] = float(value)
        except ValueError:
            equals = ""
        if not equals:
            raise ConfigError(f"ranges are given as SENSOR=LARGEST, say accel=16, not {word!r}")
    return found


def norms(x: Tensor, channels: Sequence[int]) -> Tensor:
    """Return the length of the vector that some channels form at every reading: `(..., C, T)` in, `(..., T)` out.

    Turning a sensor does not change it.
    """
    found: Tensor = torch.linalg.vector_norm(x[..., list(channels), :], dim=-2)
    return found
