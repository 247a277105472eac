"""What the fuzz driver has to know of a reader."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random


@dataclass(frozen=True)
class Reader:
    """A function that reads a file, and files to begin with.

    Attributes:
        suffix: of the file's name, with its dot.
        valid: draws one valid file's content.
        twisted: draws one that is well formed in the container's terms but odd in its own: nodes swapped, a number
            out of range, a column left out. It is given the draws alone and builds from what `valid` builds.
        read: reads the file, as a user would. It may raise errors of `withstand.core.errors` and nothing else.
        allowance: bytes that reading may allocate whatever the file's size, for what a library needs.
        times: how often the file's size may be allocated beyond that.
    """

    suffix: str
    valid: Callable[[Random], bytes]
    twisted: Callable[[Random], bytes]
    read: Callable[[Path], object]
    allowance: int = 32 << 20
    times: int = 2
