"""How picture files are read where they leave it open, and what is told of those that gave less than they hold."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

from withstand.core.errors import ConfigError
from withstand.core.files import printable
from withstand.core.part import Part

PIXELS = 178_956_970
"""Pixels from which on Pillow takes a file for an attack on memory."""

ALPHA, PAGES, CHANNELS, DARK = "alpha", "pages", "channels", "dark"
"""Notes on a picture: it is transparent somewhere, the first of several, has channels that are left out, or comes
nowhere near the white that was told."""
_SAID = {
    ALPHA: "transparency is laid over white in",
    PAGES: "the first of several pages alone is read of",
    CHANNELS: "channels beside red, green and blue are left out (bands chooses) of",
    DARK: "no value comes near the white that was told in",
}
_NAMED = 3


@dataclass(frozen=True)
class Reading(Part):
    """What picture files do not say themselves.

    Args:
        white: what stands for white in files of more than 8 bits, as 4095 of a sensor of 12 bits; None for what the
            file says, or else for the largest number that it can hold.
        bands: which channels of a file with more than three are red, green and blue, counted from 1, or the one that
            is shown as grey; () for what the file says.
        most_pixels: a picture may have; larger ones are left out.

    Raises:
        ConfigError: a white of 0 or less, another number of bands, or no pixels.
    """

    white: float | None = None
    bands: tuple[int, ...] = ()
    most_pixels: int = PIXELS

    def __post_init__(self) -> None:
        if self.white is not None and not 0 < self.white < float("inf"):
            raise ConfigError(f"white must be above 0, not {self.white!r}")
        if len(self.bands) not in (0, 1, 3) or min(self.bands, default=1) < 1:
            raise ConfigError(f"bands must be one or three channels, counted from 1, as 4,3,2, not {self.bands!r}")
        if self.most_pixels < 1:
            raise ConfigError(f"most_pixels must be at least 1, not {self.most_pixels!r}")

    @property
    def key(self) -> str:
        """What cache files of pictures that were read so are called by; "" where nothing is said."""
        said = repr((self.white, tuple(self.bands), self.most_pixels))
        return "" if self == PLAIN else f"-{blake2b(said.encode(), digest_size=4).hexdigest()}"

    def refuse_size(self, wide: int, high: int) -> None:
        """Refuse a picture that has more pixels than are allowed.

        Raises:
            ValueError: it has.
        """
        if wide * high > self.most_pixels:
            raise ValueError(
                f"it has {wide:,} x {high:,} pixels, more than the {self.most_pixels:,} that are allowed: "
                f"most_pixels={wide * high} allows it"
            )


PLAIN = Reading()


class Told(NamedTuple):
    """What a file told beside its pixels.

    Attributes:
        notes: some of `ALPHA`, `PAGES`, `CHANNELS`, `DARK`.
        peak: the largest value of a file of more than 8 bits that nobody said white of; None of others.
    """

    notes: tuple[str, ...] = ()
    peak: int | None = None


def notes_on(pictures: Sequence[tuple[str, Told]]) -> str:
    """Return in one line what is to be said of pictures, by their names; "" where that is nothing."""
    total = len(pictures)
    lines = []
    for note, said in _SAID.items():
        names = [name for name, told in pictures if note in told.notes]
        if names:
            lines.append(f"{said} {len(names)} of {total} pictures ({_some(names)})")
    deep = [(name, told.peak) for name, told in pictures if told.peak is not None]
    most = 12 if any(peak >= 1 << 14 for _, peak in deep) else 14  # bits; one picture may be dark for its own reasons
    dark = [(name, peak) for name, peak in deep if peak < 1 << most]
    if dark:
        top = max(peak for _, peak in dark)
        shown = _some([name for name, _ in dark])
        white = (1 << max(8, top.bit_length())) - 1
        lines.append(
            f"{len(dark)} of {len(deep)} 16-bit pictures hold no value above {top} ({shown}): "
            f"with 65535 for white they come out dark, white={white} reads them as of {white.bit_length()} bits"
        )
    return "; ".join(lines)


def _some(names: Iterable[str]) -> str:
    shown = [printable(name) for name in names]
    more = f" and {len(shown) - _NAMED} more" if len(shown) > _NAMED else ""
    return ", ".join(shown[:_NAMED]) + more
