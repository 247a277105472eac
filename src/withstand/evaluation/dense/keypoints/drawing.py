"""Points and the lines between them, drawn on pictures that are enlarged so that they can be seen."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from torch import Tensor

Lines: TypeAlias = tuple[tuple[int, int], ...]
HAND: Lines = tuple(
    (0 if joint == 1 else finger * 4 + joint - 1, finger * 4 + joint) for finger in range(5) for joint in range(1, 5)
)
"""Lines between the 21 points of a hand: the wrist, then four of each finger from the palm, the thumb's first."""
_COLORS = ((230, 70, 60), (240, 180, 40), (80, 190, 90), (60, 150, 240), (170, 90, 210))
_SIDE = 160


def skeletons(
    pictures: npt.NDArray[np.uint8], points: Tensor, known: Tensor, lines: Sequence[tuple[int, int]] = ()
) -> npt.NDArray[np.uint8]:
    """Return pictures `(N, H, W, C)` in color, enlarged by a whole factor to about 160 pixels, with points and lines.

    A point's color tells its number, a line's that of its end; every fourth number has another color on hands, every
    number elsewhere. Points outside the picture are not seen.

    Args:
        pictures: grey or in color.
        points: x and y in pixels, `(N, J, 2)`.
        known: which are drawn, bool `(N, J)`.
        lines: pairs of points.
    """
    factor = max(1, round(_SIDE / max(pictures.shape[1:3])))
    large = pictures.repeat(factor, 1).repeat(factor, 2)
    large = np.repeat(large, 3, 3) if large.shape[3] == 1 else large
    group = 4 if len(lines) else 1
    drawn: list[npt.NDArray[Any]] = []
    for picture, places, there in zip(large, points.cpu(), known.cpu(), strict=True):
        image = Image.fromarray(picture)
        pen = ImageDraw.Draw(image)
        at = [((x + 0.5) * factor, (y + 0.5) * factor) for x, y in places.tolist()]
        seen = there.tolist()
        for one, other in lines:
            if seen[one] and seen[other]:
                pen.line((at[one], at[other]), fill=_color(other, group), width=2)
        for number, (x, y) in enumerate(at):
            if seen[number]:
                pen.ellipse((x - 3, y - 3, x + 3, y + 3), fill=_color(number, group), outline=(255, 255, 255))
        drawn.append(np.asarray(image))
    return np.stack(drawn)


def _color(number: int, group: int) -> tuple[int, int, int]:
    return _COLORS[max(number - 1, 0) // group % len(_COLORS) if group > 1 else number % len(_COLORS)]
