"""What methods share whose teacher's outputs are centred and sharpened, as DINO's are."""

import torch
from torch import Tensor

from withstand.core.devices.distributed import total, world_size
from withstand.core.errors import ConfigError


def warmed(course: tuple[float, float, int], epoch: int) -> float:
    """Return a teacher's temperature in an epoch: from the first to the second in a line, over as many epochs."""
    first, last, epochs = course
    return last if epoch >= epochs else first + (last - first) * epoch / epochs


@torch.no_grad()
def follow_center(center: Tensor, seen: Tensor, momentum: float) -> None:
    """Move a center towards the mean over processes of what each saw, `(K,)`; every process must call it."""
    center.lerp_(total(seen.to(center.dtype)) / world_size(), 1 - momentum)


def check_center_momentum(momentum: float) -> None:
    """Refuse a center that would not follow.

    Raises:
        ConfigError: the momentum is no share.
    """
    if not 0 <= momentum <= 1:
        raise ConfigError(f"center_momentum must lie in [0, 1], not {momentum!r}")
