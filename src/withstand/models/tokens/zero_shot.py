"""A classifier of pictures whose classes were told in words.

Sizes: `B` pictures, `C` classes, `E` width of embeddings.
"""

from collections.abc import Iterable, Sequence
from typing import Self

import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError
from withstand.core.part import Part
from withstand.core.roles import Model
from withstand.losses.precision import unit_rows


def side_by_side(features: Tensor, projectors: Iterable[nn.Module], shares: Sequence[float]) -> Tensor:
    """Return unit-length embeddings of features `(B, W)` by one projector, or by several side by side, `(B, E)`.

    Each is as long as the root of its share, so that inner products of two such rows are the mean of the projectors'
    cosines, weighed by their shares.

    Args:
        features: what projectors read.
        projectors: one or more.
        shares: of each, at least 0, together 1.
    """
    parts = [unit_rows(one(features)) * share**0.5 for one, share in zip(projectors, shares, strict=True)]
    return torch.cat(parts, 1)


class ZeroShotClassifier(Part, nn.Module):
    """Pictures in [0, 1] in, logits `(B, C)` out: cosines with the classes' texts, times a scale.

    Args:
        encoder: of pictures.
        projectors: of its features, one or more.
        classes: C, at least 2.
        shares: of each projector's cosines, at least 0, together 1.
    """

    texts: Tensor
    scale: Tensor

    def __init__(
        self, encoder: Model, projectors: Sequence[Model], classes: int, shares: Sequence[float] = (1.0,)
    ) -> None:
        super().__init__()
        if classes < 2:
            raise ConfigError(f"a classifier needs at least 2 classes, not {classes!r}")
        if len(projectors) != len(shares) or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
            raise ConfigError(f"shares must be at least 0, one a projector, and together 1, not {tuple(shares)}")
        self.encoder, self.projectors, self.shares = encoder, nn.ModuleList(projectors), tuple(shares)
        self.register_buffer("texts", torch.zeros(classes, sum(projector.width for projector in projectors)))
        self.register_buffer("scale", torch.ones(()))

    @classmethod
    def joining(
        cls, encoder: Model, projectors: Sequence[Model], shares: Sequence[float], texts: Tensor, scale: Tensor
    ) -> Self:
        """Return one of these networks themselves, weights shared, and of the classes' embeddings `(C, E)`."""
        with torch.device("meta"):
            made = cls(encoder, projectors, len(texts), shares)
        made.texts, made.scale, made.training = texts.detach(), scale.detach(), encoder.training
        return made

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = side_by_side(self.encoder(x), self.projectors, self.shares) @ self.texts.T * self.scale
        return logits
