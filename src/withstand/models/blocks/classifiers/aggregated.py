"""A classifier that looks at a sample under several changes, knowing which, and takes the mean of what it sees."""

from typing import Literal, Self, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from withstand.core.errors import ConfigError, nearest
from withstand.core.part import Part
from withstand.core.roles import Model
from withstand.models.blocks.transforms import TransformSet

Reading = Literal["aggregate", "single"]


class Aggregated(Part, nn.Module):
    """Samples in [0, 1] in, logits `(B, classes)` out; inside, logits of pairs of a class and a change.

    Column y M + j of the head is class y under change j. A version is read at the columns of its own change alone.

    Args:
        encoder: gives the features.
        classes: how many classes there are, 2 or more.
        transforms: the M changes.
        reading: "aggregate", the mean of all versions' logits, or "single", the unchanged version's.
    """

    def __init__(
        self, encoder: Model, classes: int, transforms: TransformSet, *, reading: Reading = "aggregate"
    ) -> None:
        super().__init__()
        if classes < 2:
            raise ConfigError(f"a classifier needs at least 2 classes, not {classes!r}")
        if reading not in get_args(Reading):
            raise ConfigError(f"reading {reading!r} is unknown: {nearest(str(reading), get_args(Reading))}")
        self.encoder, self.classes, self.transforms, self.reading = encoder, classes, transforms, reading
        self.head = nn.Linear(encoder.width, classes * len(transforms))

    @classmethod
    def joining(cls, encoder: Model, head: nn.Linear, transforms: TransformSet, reading: Reading) -> Self:
        """Return one of these two modules themselves: weights are shared, and nothing is drawn."""
        with torch.device("meta"):
            made = cls(encoder, head.out_features // len(transforms), transforms, reading=reading)
        made.head, made.training = head, encoder.training
        return made

    def forward(self, x: Tensor) -> Tensor:
        # Version by version, so that samples never share a batch's axis with versions: bounds ask for that.
        logits = self.version(x, 0)
        if self.reading == "single":
            return logits
        for number in range(1, len(self.transforms)):
            logits = logits + self.version(x, number)
        return logits / len(self.transforms)

    def version(self, x: Tensor, number: int) -> Tensor:
        """Return what one version says of the classes, `(B, classes)`, from the unchanged samples."""
        columns = slice(number, None, len(self.transforms))
        features = self.encoder(self.transforms.apply(x, number))
        return linear(features, self.head.weight[columns], self.head.bias[columns])
