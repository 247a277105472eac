"""Small detectors for tests; importable as `guards` (see pythonpath in pyproject.toml)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from victims import random_pictures, small_net
from withstand.core.batch import Batch
from withstand.core.random import Draws
from withstand.core.roles import View
from withstand.defenses.neighbourhood_detector import NeighbourhoodDetector


@dataclass(frozen=True)
class Same(View):
    """Leaves samples as they are."""

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        return batch


@dataclass(frozen=True)
class Shaken(View):
    """Adds noise to samples of any shape."""

    deviation: float = 0.2

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        return batch.with_x(batch.x + self.deviation * draws.normal(*batch.x.shape[1:]).to(batch.x.dtype))


def pictures(count: int = 9) -> Tensor:
    """Return random pictures, float64."""
    return random_pictures(count, dtype=torch.float64)[0]


def detector(**settings: object) -> NeighbourhoodDetector:
    """Return a detector in float64 round a small classifier; its encoder has batch norm, dropout and train mode on."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        encoder = nn.Sequential(
            nn.Flatten(), nn.Linear(36, 12), nn.BatchNorm1d(12), nn.Tanh(), nn.Dropout(0.5)
        ).double()
        projector, labeller = nn.Linear(12, 6).double(), nn.Linear(12, 5).double()
        encoder[2].running_mean.normal_()
    given = {"view": Shaken(), "neighbours": 7, "rank": 3, **settings}
    parts = {"encoder": encoder, "projector": projector, "labeller": labeller} | {
        name: given.pop(name) for name in ("encoder", "projector", "labeller") if name in given
    }
    victim = given.pop("victim", small_net(dtype=torch.float64))
    return NeighbourhoodDetector(**parts, victim=victim, **given)
