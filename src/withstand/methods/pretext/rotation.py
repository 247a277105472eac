"""Rotation: tell by which quarter turns a picture was turned.

paper: Unsupervised Representation Learning by Predicting Image Rotations (Gidaris, Singh, Komodakis; ICLR 2018)
needs: one view, or the pictures themselves      modalities: square pictures, by any encoder
sizes: B pictures, W encoder width
differences: turns are clockwise. The official networks are convolutional, and features of their middle are probed.
"""

from typing import Self

from withstand.core.roles import Model
from withstand.methods.shared.pretext_pictures import PretextMethod
from withstand.models.pictures.normalized import Normalized
from withstand.models.pictures.pretexts import RotationPretext


class Rotation(PretextMethod):
    """All four turns of each picture in one batch, told by a linear layer.

    Args:
        encoder: the network to train.
    """

    def __init__(self, encoder: Model) -> None:
        super().__init__(encoder, RotationPretext(encoder.width, hidden=()))

    @classmethod
    def example(cls) -> Self:
        return cls(Normalized.example())
