"""WebP pictures: one of a single color has no smallest size, so any may take as much as 16 million pixels."""

from random import Random

from benchmarks.fuzz.reader import Reader
from benchmarks.fuzz.readers.pictures import drawn, lying, read_picture


def valid(draws: Random) -> bytes:
    """Draw a WebP file that can be read."""
    return drawn("WEBP", draws)


def twisted(draws: Random) -> bytes:
    """Draw a WebP file whose header promises other sides."""
    return lying(drawn("WEBP", draws), draws)


READER = Reader(".webp", valid, twisted, read_picture, allowance=400 << 20)
