"""Relative position: tell where one tile of a picture lies beside another.

paper: Unsupervised Visual Representation Learning by Context Prediction (Doersch, Gupta, Efros; ICCV 2015)
needs: one view, or the pictures themselves      modalities: pictures, by any encoder
sizes: B pictures, W encoder width
differences: tiles are enlarged to the pictures' size, so that any encoder reads them. The first is always the middle
    one of nine. No colors are dropped against chromatic aberration, which small pictures do not show.
"""

from typing import Self

from withstand.core.roles import Model
from withstand.methods.shared.pretext_pictures import PretextMethod
from withstand.models.pictures.normalized import Normalized
from withstand.models.pictures.pretexts import PositionPretext


class RelativePosition(PretextMethod):
    """The middle tile of nine and one of its eight neighbours, with a gap between them that is drawn.

    Args:
        encoder: the network to train; it reads tile by tile.
        hidden: width of the layer that reads both tiles' features.
        crop: share of a tile's sides that is kept, at a place drawn for each tile: 96 of 144 pixels in the paper.
    """

    def __init__(self, encoder: Model, *, hidden: int = 4096, crop: float = 96 / 144) -> None:
        super().__init__(encoder, PositionPretext(encoder.width, hidden=hidden, crop=crop))

    @classmethod
    def example(cls) -> Self:
        return cls(Normalized.example(), hidden=8)
