"""Masks beside their truth: Dice by volume and structure, and masks drawn over what they are of.

Sizes: N slices, V volumes, K classes with the background as class 0, H x W pixels.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from withstand.core.batch import unit_range
from withstand.core.devices.device import device_of_network
from withstand.core.errors import DataError
from withstand.core.findings.finding import Table
from withstand.core.findings.pictures import drawn, pictures_of
from withstand.core.roles import Source
from withstand.losses.agreement.dice import dice_scores
from withstand.models.dense.unet import Segmenter

_COLORS = ((230, 70, 60), (60, 150, 240), (80, 190, 90), (240, 180, 40), (170, 90, 210), (60, 200, 200))
_AT_ONCE = 64
_COVER = 0.55
"""Share of a structure's color in a pixel that it covers."""


def volumes_of(source: Source) -> Tensor:
    """Return which volume each sample is of, int64 `(N,)`, counted from 0; each is its own where there are none."""
    volume = source.attributes.get("volume")
    return torch.arange(len(source)) if volume is None else torch.unique(volume, return_inverse=True)[1]


def masked_volumes(source: Source) -> list[Tensor]:
    """Return the samples of each volume whose masks are known, in order.

    Raises:
        DataError: there are no masks.
    """
    if not source.structures:
        raise DataError(f"{source.name} has no masks")
    known = source.attributes.get("masked", torch.ones(len(source), dtype=torch.bool))
    volume = volumes_of(source)
    return [rows for one in torch.unique(volume[known]) if len(rows := ((volume == one) & known).nonzero()[:, 0])]


def scores(found: Tensor, true: Tensor, volumes: Tensor, classes: int) -> Tensor:
    """Return Dice of every structure in each volume, float64 `(V, K - 1)`; NaN where neither mask has it.

    Args:
        found: predicted classes, `(N, H, W)`.
        true: of the same shape, -1 where not known.
        volumes: of each slice, counted from 0, `(N,)`.
        classes: K.
    """
    each = [dice_scores(found[volumes == one], true[volumes == one], classes)[1:] for one in torch.unique(volumes)]
    return torch.stack(each)


def overlaid(pictures: npt.NDArray[np.uint8], masks: Tensor) -> npt.NDArray[np.uint8]:
    """Return grey or color pictures `(N, H, W, C)` in color, each structure of their masks `(N, H, W)` tinted."""
    out = np.repeat(pictures, 3, 3) if pictures.shape[3] == 1 else pictures.copy()
    values = masks.cpu().numpy()
    for structure in range(1, int(values.max(initial=0)) + 1):
        color = np.array(_COLORS[(structure - 1) % len(_COLORS)])
        here = values == structure
        out[here] = np.rint((1 - _COVER) * out[here] + _COVER * color).astype(np.uint8)
    return out


def predicted(network: Segmenter, source: Source, rows: Tensor) -> Tensor:
    """Return the predicted class of every pixel, int64 `(N, H, W)`."""
    device = device_of_network(network)
    with torch.no_grad():
        parts = [network(unit_range(source[some].x).to(device)).argmax(1).cpu() for some in torch.split(rows, _AT_ONCE)]
    return torch.cat(parts)


def worst_slices(
    test: Source, rows: Tensor, found: Tensor, true: Tensor, shown: int
) -> tuple[dict[str, Any], dict[str, Table]]:
    """Return the slices with structures whose masks fit least, as pictures where they can be drawn, and what they are.

    Args:
        test: the slices.
        rows: which of them, `(N,)`.
        found: predicted masks, `(N, H, W)`.
        true: those that are known.
        shown: how many at most.
    """
    own = torch.arange(len(rows))
    each = scores(found, true, own, len(test.structures)).nanmean(1)
    there = (true > 0).flatten(1).any(1)
    order = torch.where(there, each, torch.inf).argsort(stable=True)[: min(shown, int(there.sum()))]
    if not len(order):
        return {}, {}
    plain = pictures_of(test, rows[order]) if drawn(test) else None
    pictures: dict[str, Any] = {}
    if plain is not None:
        pictures = {
            "worst slices": plain.repeat(3, 3) if plain.shape[3] == 1 else plain,
            "true masks": overlaid(plain, true[order]),
            "found masks": overlaid(plain, found[order]),
        }
    called = [test.names[row] if test.names else str(row) for row in rows[order].tolist()]
    table = Table(
        ("slice", "Dice"),
        tuple(zip(called, each[order].tolist(), strict=True)),
        units={"Dice": "ratio"},
    )
    return pictures, {"pictures": table}


def by_volume(test: Source, judged: list[Tensor], finals: Tensor, names: tuple[str, ...]) -> Table:
    """Return the Dice of each volume and structure, the worst volume first.

    Args:
        test: the slices.
        judged: which of them each volume has.
        finals: Dice, `(V, K - 1)`.
        names: of the structures.
    """
    called = [test.names[int(rows[0])].rpartition(" slice ")[0] if test.names else str(place)
              for place, rows in enumerate(judged)]  # fmt: skip
    mean = finals.nanmean(1)
    order = mean.argsort(stable=True).tolist()
    rows = tuple((called[place], float(mean[place]), *finals[place].tolist()) for place in order)
    return Table(("volume", "Dice", *names), rows, units=dict.fromkeys(("Dice", *names), "ratio"))
