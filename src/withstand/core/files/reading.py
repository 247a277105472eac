"""What is said of picture files that do not say it themselves."""

from dataclasses import dataclass
from hashlib import blake2b

from withstand.core.errors import ConfigError
from withstand.core.options import Options
from withstand.core.part import Part

PIXELS = 178_956_970
"""Pixels from which on Pillow takes a file for an attack on memory."""


@dataclass(frozen=True)
class Reading(Part, Options):
    """What picture files do not say themselves.

    Args:
        white: of picture files with more than 8 bits: what stands for white, as 4095 of a sensor of 12 bits; if not
            said what the file says, or else the largest number that it can hold
        bands: of picture files with more than three channels: which are red, green and blue, counted from 1, or the one
            that is shown as grey; if not said what the file says
        most_pixels: of picture files: how many a picture may have; larger ones are left out

    Raises:
        ConfigError: a white of 0 or less, another number of bands, or no pixels.
    """

    white: float | None = None
    bands: tuple[int, ...] = ()
    most_pixels: int = PIXELS

    def __post_init__(self) -> None:
        if self.white is not None and not 0 < self.white < float("inf"):
            raise ConfigError(f"white must be above 0, not {self.white!r}")
        object.__setattr__(self, "bands", tuple(self.bands))  # a command line gives a list
        if len(self.bands) not in (0, 1, 3) or min(self.bands, default=1) < 1:
            raise ConfigError(f"bands must be one or three channels, counted from 1, say 4 3 2, not {self.bands!r}")
        if self.most_pixels < 1:
            raise ConfigError(f"most_pixels must be at least 1, not {self.most_pixels!r}")

    @property
    def key(self) -> str:
        """What cache files of pictures that were read so are called by; "" where nothing is said."""
        said = repr((self.white, tuple(self.bands), self.most_pixels))
        return "" if self == PLAIN else f"-{blake2b(said.encode(), digest_size=4).hexdigest()}"

    def refuse(self, what: str) -> None:
        """Refuse what is said of picture files for data that are none.

        Raises:
            ConfigError: something is said.
        """
        if self != PLAIN:
            raise ConfigError(f"white, bands and most_pixels are of picture files, and {what}: leave them out")

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
"""Nothing is said."""
