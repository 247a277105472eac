"""What methods share that locate points and masks: how answers differ, their mean, and points that swap in mirrors.

Sizes: B pictures, J points.
"""

import torch
from torch import Tensor

from withstand.core.errors import ConfigError
from withstand.losses.agreement.heatmaps import heatmap_loss, mask_distance
from withstand.models.dense.locator import Located


def disagreements(one: Located, two: Located, delta: float) -> Tensor:
    """Return how far two answers lie apart, `(B, 2)`: Huber's loss of heatmaps, and the squared difference of masks."""
    return torch.stack((heatmap_loss(one.maps, two.maps, None, delta), mask_distance(one.logits, two.logits)), 1)


def mean_answer(answers: list[Located]) -> Located:
    """Return the mean heatmaps, and the logits of the mean mask."""
    maps = torch.stack([one.maps for one in answers]).mean(0)
    masks = torch.stack([one.logits.float().sigmoid() for one in answers]).mean(0)
    return Located(maps, torch.logit(masks, eps=1e-7).to(maps.dtype))


def swapped_points(swaps: tuple[tuple[int, int], ...], points: int) -> list[int]:
    """Return each point's number in a mirrored picture; [] where none changes."""
    order = list(range(points))
    for pair in swaps:
        if len(pair) != 2 or not all(0 <= one < points for one in pair) or pair[0] == pair[1]:
            raise ConfigError(f"swaps must be pairs of different points from 0 to {points - 1}, not {pair!r}")
        if any(order[one] != one for one in pair):
            raise ConfigError(f"swaps names a point of {pair!r} twice")
        order[pair[0]], order[pair[1]] = pair[1], pair[0]
    return order if swaps else []
