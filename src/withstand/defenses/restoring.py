"""Adaptation by what a victim restores of its inputs (Slot-TTA, Prabhudesai et al., 2023).

Where the masks that a network tells also compose the picture, restoring it better tells better masks.
"""

from typing import Self

import torch
from torch import Tensor, nn

from withstand.core.errors import DataError
from withstand.core.victims.victim import Outputs, Victim
from withstand.defenses.adapter import Adapter

RESTORED = "restored"


class Restoring(Adapter):
    """Lower the squared error of what the victim restores of an input, by all of its parameters, each time anew.

    By default each input is adapted to alone. The optimizer starts anew too, where the official code loads the moments
    of the training. How many steps help is to be found on other inputs: with too many the error falls on, and what is
    told gets worse.

    Args:
        victim: gives several outputs, of which "restored" is shaped like its inputs.
        steps: gradient steps; the paper takes 150 at most.
        rate: their learning rate.
        batch: inputs that are adapted to together.
        optimizer: "adam", or "sgd" with momentum 0.9.
    """

    @classmethod
    def example(cls) -> Self:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), _Both())
        return cls(network)

    def loss(self, outputs: Outputs, x: Tensor) -> Tensor:
        if isinstance(outputs, Tensor) or RESTORED not in outputs:
            raise DataError(f"this adaptation needs a network that gives an output {RESTORED!r}")
        restored = outputs[RESTORED]
        if restored.shape != x.shape:
            raise DataError(f"{RESTORED!r} has shape {tuple(restored.shape)}, inputs have {tuple(x.shape)}")
        return (restored - x).square().flatten(1).mean(1)


def restoring(network: nn.Module, steps: int, rate: float) -> Restoring:
    """Return the guard that adapts a network to each input alone."""
    return Restoring(Victim(network), steps=steps, rate=rate)


class _Both(nn.Module):
    """Logits of five classes, and a picture, of maps of four channels."""

    def __init__(self) -> None:
        super().__init__()
        self.classes, self.picture = nn.Linear(4 * 36, 5), nn.Conv2d(4, 1, 1)

    def forward(self, maps: Tensor) -> dict[str, Tensor]:
        return {"logits": self.classes(maps.flatten(1)), RESTORED: self.picture(maps)}
