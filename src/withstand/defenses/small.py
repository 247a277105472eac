"""A small classifier of small pictures, for the examples that guards give of themselves."""

import torch
from torch import Tensor, nn

from withstand.core.random import isolated
from withstand.core.victims.victim import Victim


def small_victim() -> Victim:
    """Return an untrained convolutional classifier of five classes of pictures `(1, 6, 6)`, the same at every call.

    It has batch normalisation and dropout, and is left in train mode, as a careless user's is.
    """
    with isolated("an example's weights"):
        net = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(),
            nn.Linear(288, 5),
        )  # fmt: skip
        net(torch.rand(8, 1, 6, 6))  # running statistics that are not all 0 and 1
    return Victim(net)


def small_features() -> nn.Module:
    """Return features `(N, 36)` of the same pictures."""
    with isolated("an example's features"):
        return nn.Sequential(nn.Flatten(), nn.Linear(36, 36), nn.Tanh())


def small_pictures() -> Tensor:
    """Return 40 such pictures."""
    return torch.rand(40, 1, 6, 6, generator=torch.Generator().manual_seed(2))
