"""Captions made for labelled pictures: the class, and how dark or of what color the picture is.

Sizes: `N` pictures.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from withstand.core.batch import unit_range
from withstand.core.roles import Source

SAYINGS = (
    "a photo of a {look} {name}",
    "the {name} in this photo is {look}",
    "this is a picture of the {look} {name}",
    "there is a {name} and it looks {look}",
)
"""What is said of a picture; the first and third tell its color, the others its brightness."""

_HUES = ("red", "yellow", "green", "cyan", "blue", "purple")
GREY, BRIGHTNESS = "grey", ("dark", "dim", "bright")
_PALE, _STEPS, _AT_ONCE = 0.12, (0.35, 0.55), 1024


def spoken(name: str) -> str:
    """Return a class's name as it is said.

    >>> spoken("aquarium_fish")
    'aquarium fish'
    """
    return name.replace("_", " ").strip()


def sayings(source: Source, templates: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the captions of labelled pictures: one a template, by turns with the color and the brightness."""
    labels = source.labels
    assert labels is not None
    names = [spoken(name) for name in source.classes]
    said: list[tuple[str, ...]] = []
    for start in range(0, len(source), _AT_ONCE):
        rows = range(start, min(start + _AT_ONCE, len(source)))
        for label, *looks in zip(labels[rows].tolist(), *looks_of(source[rows].x), strict=True):
            said.append(
                tuple(one.format(name=names[label], look=looks[place % 2]) for place, one in enumerate(templates))
            )
    return said


def looks_of(x: Tensor) -> tuple[list[str], list[str]]:
    """Return a word for the mean color of each picture `(N, C, H, W)`, and one for its brightness.

    Colors are six hues of 60 degrees round red, or grey where the largest and smallest channel of the mean differ by
    less than 0.12 of the range; brightness is the mean of all channels, parted at 0.35 and 0.55.
    """
    mean = unit_range(x).float().mean((2, 3)).cpu()
    spread = mean.amax(1) - mean.amin(1)
    if mean.shape[1] == 3:
        red, green, blue = mean.unbind(1)
        # The angle of the color wheel, from the two axes that span it.
        angle = torch.atan2(3**0.5 * (green - blue), 2 * red - green - blue)
        hue = (angle * 3 / torch.pi).round().long() % 6
        colors = [GREY if pale else _HUES[place] for pale, place in zip(spread < _PALE, hue.tolist(), strict=True)]
    else:
        colors = [GREY] * len(mean)
    steps = torch.bucketize(mean.mean(1), torch.tensor(_STEPS))
    return colors, [BRIGHTNESS[step] for step in steps.tolist()]
