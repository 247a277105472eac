"""Two towers: what embeds pictures and texts in one space, as CLIP does, with nothing of how they were trained.

Sizes: `B` pictures, `E` width of embeddings.
"""

import math
from typing import Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError
from withstand.core.part import Part
from withstand.core.roles import Model
from withstand.models.blocks.heads import ProjectionHead
from withstand.models.pictures.normalized import Normalized
from withstand.models.tokens.text_tower import TextTower


@runtime_checkable
class HasTowers(Protocol):
    """What has both towers, as a method that trains them does."""

    encoder: Model
    text: TextTower
    picture_head: Model
    text_head: Model
    log_scale: nn.Parameter


class Towers(Part, nn.Module):
    """Encoders of pictures and of texts, each with a projector, and the logarithm of what cosines are multiplied by.

    Args:
        encoder: of pictures.
        text: of texts.
        picture_head: projector of the encoder's features.
        text_head: of the texts' features, as wide.

    Raises:
        ConfigError: projectors of two widths.
    """

    def __init__(self, encoder: Model, text: TextTower, picture_head: Model, text_head: Model) -> None:
        super().__init__()
        if picture_head.width != text_head.width:
            raise ConfigError(f"both projectors are as wide, not {picture_head.width} and {text_head.width}")
        self.encoder, self.text, self.picture_head, self.text_head = encoder, text, picture_head, text_head
        self.log_scale = nn.Parameter(torch.tensor(-math.log(0.07)))

    @classmethod
    def example(cls) -> Self:
        encoder, text = Normalized.example(), TextTower.example()
        return cls(encoder, text, *(ProjectionHead(one.width, 1, 6, 1, last_bias=False) for one in (encoder, text)))

    def scale(self) -> Tensor:
        """Return what cosines are multiplied by, at most 100."""
        return self.log_scale.exp().clamp_max(100.0)
