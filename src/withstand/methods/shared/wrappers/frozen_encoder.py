"""A method round an encoder that an earlier run trained, and that stays as it is."""

from typing import Self

import torch
from torch import Tensor

from withstand.core.batch import Batch, unit_range
from withstand.core.roles import Method, Model


class OnFrozenEncoder(Method):
    """Base of methods that learn something about an encoder and leave it alone: it is frozen, in eval mode.

    Args:
        encoder: takes the weights of the run's earlier stage.
    """

    def __init__(self, encoder: Model) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(False).eval()

    def inherit(self, earlier: Method) -> None:
        self.encoder.load_state_dict(earlier.encoder.state_dict())

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all but the encoder, which stays in eval mode."""
        super().train(mode)
        self.encoder.eval()
        return self


def clean(method: OnFrozenEncoder, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return a batch's samples in [0, 1] and their features, without gradients."""
    x = unit_range(batch.x)
    with torch.no_grad():
        return x, method.encoder(x)
