"""What the distances of nearest adversarial points say: how many samples are still right at every radius."""

import torch
from torch import Tensor

from withstand.core.findings.finding import Cell, Table
from withstand.core.roles import Attacked
from withstand.evaluation.statistics.intervals import Share, shares

STILL_RIGHT = "still right"
_COLUMNS = ("radius", STILL_RIGHT, f"{STILL_RIGHT}, 95 % low", f"{STILL_RIGHT}, 95 % high")


def distance_of(found: Attacked) -> Tensor:
    """Return how far each sample withstood an attack, `(N,)`: 0 where it was wrong, infinite where nothing was found.

    Args:
        found: what a minimal-norm attack found in a ball that holds every input.
    """
    return torch.where(found.success, found.norm, torch.inf).double()


def still_right_at(distance: Tensor, share: float) -> float:
    """Return the smallest radius from which at most a share of the samples is still right; infinite if none was found.

    >>> still_right_at(torch.tensor([0.0, 1.0, 2.0, 3.0]), 0.5)
    1.0
    """
    ordered = distance.sort(descending=True).values
    place = int(share * len(ordered) + 1e-9)  # of the sample by whose fall no more than the share is left
    return float(ordered[min(place, len(ordered) - 1)])


def distance_table(distance: Tensor, radii: tuple[float, ...]) -> Table:
    """Return the share of samples that are still right at each radius, with Wilson's 95 % intervals.

    A nearest point found is no nearest point there is: with a better attack shares can only fall.

    Args:
        distance: of each sample, `(N,)`; see `distance_of`.
        radii: where the curve is read.
    """
    rows: list[tuple[Cell, ...]] = [(radius, *Share.of(distance > radius).cells) for radius in radii]
    return Table(_COLUMNS, tuple(rows), units={"radius": "radius"} | shares(*_COLUMNS[1:]))
