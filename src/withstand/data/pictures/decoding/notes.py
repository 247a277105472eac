"""What is told of picture files that gave less than they hold."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from withstand.core.files import printable

ALPHA, PAGES, FRAMES, CHANNELS, DARK = "alpha", "pages", "frames", "channels", "dark"
"""Notes on a picture: it is transparent somewhere, the first of several pages or frames, has channels that are left
out, or comes nowhere near the white that was told."""
_SAID = {
    ALPHA: "transparency is laid over white in",
    PAGES: "the first of several pages alone is read of",
    FRAMES: "the first of several frames alone is read of",
    CHANNELS: "channels beside red, green and blue are left out (bands chooses) of",
    DARK: "no value comes near the white that was told in",
}
_NAMED = 3


class Told(NamedTuple):
    """What a file told beside its pixels.

    Attributes:
        notes: some of `ALPHA`, `PAGES`, `FRAMES`, `CHANNELS`, `DARK`.
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
