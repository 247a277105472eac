"""Jigsaw: tell in which of some orders a picture's tiles were laid.

paper: Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles (Noroozi, Favaro; ECCV 2016)
needs: one view, or the pictures themselves      modalities: pictures, by any encoder
sizes: B pictures, W encoder width
differences: tiles are enlarged to the pictures' size, so that any encoder reads them. They are not each normalised on
    their own, nor ever grey, and each picture is laid in one order a step. The heads have no dropout.
"""

from typing import Self

from withstand.core.roles import Model
from withstand.methods.shared.pretext_pictures import PretextMethod
from withstand.models.pictures.normalized import Normalized
from withstand.models.pictures.pretexts import JigsawPretext


class Jigsaw(PretextMethod):
    """Tiles of each picture, laid in one of some orders that are unlike one another.

    Args:
        encoder: the network to train; it reads tile by tile.
        grid: tiles a side, 2 or 3.
        orders: how many orders there are.
        each: width of the layer that reads each tile's features.
        joint: width of the layer that reads all tiles'.
        crop: share of a tile's sides that is kept, at a place drawn for each tile: 64 of 75 pixels in the paper.
    """

    def __init__(
        self,
        encoder: Model,
        *,
        grid: int = 3,
        orders: int = 100,
        each: int = 1024,
        joint: int = 4096,
        crop: float = 64 / 75,
    ) -> None:
        task = JigsawPretext(encoder.width, grid=grid, count=orders, dropout=0.0, each=each, joint=joint, crop=crop)
        super().__init__(encoder, task)

    @classmethod
    def example(cls) -> Self:
        return cls(Normalized.example(), grid=2, orders=3, each=6, joint=8)
