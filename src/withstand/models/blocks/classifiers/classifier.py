"""An encoder and a linear classifier on it, as one network."""

from typing import Self

import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError
from withstand.core.part import Part
from withstand.core.roles import Model


class Classifier(Part, nn.Module):
    """Samples in [0, 1] in, logits `(B, classes)` out.

    Args:
        encoder: gives the features.
        classes: how many classes there are, 2 or more.
    """

    def __init__(self, encoder: Model, classes: int) -> None:
        super().__init__()
        if classes < 2:
            raise ConfigError(f"a classifier needs at least 2 classes, not {classes!r}")
        self.encoder = encoder
        self.head = nn.Linear(encoder.width, classes)

    @classmethod
    def joining(cls, encoder: Model, head: nn.Linear) -> Self:
        """Return one of these two modules themselves: weights are shared, and nothing is drawn."""
        with torch.device("meta"):
            made = cls(encoder, head.out_features)
        made.head, made.training = head, encoder.training
        return made

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.encoder(x))
        return logits
