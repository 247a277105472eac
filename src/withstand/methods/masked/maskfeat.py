"""MaskFeat: tell, of hidden patches, where their gradients point.

paper: Masked Feature Prediction for Self-Supervised Visual Pre-Training (Wei et al., CVPR 2022)
needs: one view, or the pictures themselves      modalities: pictures, by an encoder that reads patches
sizes: B pictures, L patches of P x P pixels in C channels, n hidden ones in all pictures together, W encoder width
differences: slopes of flat parts are exactly 0, where the code normalises what rounding leaves. Cells have the largest
    side up to the paper's 8 pixels that divides a patch. The smallest block of hidden patches is BEiT's share of the
    grid, 16 of 196, on any grid. The encoder's positions are fixed, and layers start as the library's ViT does.
"""

from typing import Self

import torch
from torch import Tensor

from withstand.core.batch import Batch, unit_range
from withstand.core.devices.distributed import mean_of_all
from withstand.core.errors import ConfigError
from withstand.core.roles import Terms
from withstand.losses.restoration.reconstruction import squared_error
from withstand.methods.shared.masked_pictures import FilledMethod, blocks_of_patches, one_view, values_of_a_patch
from withstand.models.pictures.normalized import Normalized
from withstand.models.pictures.oriented_gradients import oriented_gradients
from withstand.models.pictures.transformers.patches import TokenEncoder
from withstand.models.pictures.transformers.vit import ViT


class MaskFeat(FilledMethod):
    """Masked prediction of histograms of oriented gradients: their mean squared error.

    Reads view 0 of a batch (its samples where there are no views). Masks hang on seed, step and index alone.

    Args:
        encoder: the network to train; it sees all places, hidden ones as one learnt token.
        ratio: share of the patches that blocks of them hide, or somewhat less.
        bins: directions that are told of each cell, in each channel.
    """

    def __init__(self, encoder: TokenEncoder, *, ratio: float = 0.4, bins: int = 9) -> None:
        values_of_a_patch(encoder, ratio, False)
        if bins < 2:
            raise ConfigError(f"bins must be at least 2, not {bins!r}")
        cell = next(side for side in range(8, 0, -1) if encoder.patch % side == 0)
        super().__init__(encoder, (encoder.patch // cell) ** 2 * encoder.channels * bins)
        self.ratio, self.bins, self.cell = ratio, bins, cell

    @classmethod
    def example(cls) -> Self:
        return cls(Normalized(ViT.example(), (0.5,) * 3, (0.25,) * 3))

    def masks(self, batch: Batch) -> Tensor:
        """Return which patches are hidden, bool `(B, L)`."""
        return blocks_of_patches(batch.draws("mask"), self.encoder.grid(one_view(batch)), self.ratio)

    def step(self, batch: Batch) -> Terms:
        """Return the loss; the mean token of each picture is gauged."""
        return self.terms(one_view(batch), self.masks(batch))

    def terms(self, x: Tensor, hidden: Tensor) -> Terms:
        """Return what `step` returns, for given hidden patches, bool `(B, L)`."""
        told, tokens = self.told(x, hidden)
        return {
            "loss": mean_of_all(squared_error(told, self.wanted(x)[hidden])),
            "embeddings": tokens.detach().mean(1)[None],
        }

    @torch.no_grad()
    def wanted(self, x: Tensor) -> Tensor:
        """Return what is to be told of every patch, `(B, L, outputs)`: its cells row by row, channel by channel."""
        rows, columns = self.encoder.grid(x)
        inside = self.encoder.patch // self.cell
        cells = oriented_gradients(unit_range(x, self.filler.dtype), self.cell, self.bins).flatten(3)
        grid = cells.view(len(x), rows, inside, columns, inside, -1).transpose(2, 3)
        return grid.reshape(len(x), rows * columns, -1)
