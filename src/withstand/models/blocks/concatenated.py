"""Several encoders side by side: their features, one after the other."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError
from withstand.core.roles import Model
from withstand.losses.precision import full_precision, unit_rows


class Concatenated(Model):
    """The features of encoders that read the same samples, concatenated.

    Args:
        encoders: at least one.
        normalize: bring each sample's features, all together, to unit length: the cosine of two samples is then that of
            the sum of the encoders' inner products, and an encoder counts by the length of its features.
    """

    def __init__(self, encoders: Sequence[Model], *, normalize: bool = True) -> None:
        super().__init__()
        if not encoders:
            raise ConfigError("encoders must name at least one")
        self.encoders, self.normalize = nn.ModuleList(encoders), normalize
        self.width = sum(encoder.width for encoder in encoders)

    def parts(self) -> list[Model]:
        """Return the encoders, in order."""
        return [encoder for encoder in self.encoders if isinstance(encoder, Model)]

    def forward(self, x: Tensor) -> Tensor:
        """Return features `(B, width)`, the first encoder's first."""
        features = torch.cat([encoder(x) for encoder in self.encoders], 1)
        return _unit(features) if self.normalize else features


_unit = full_precision(unit_rows)
