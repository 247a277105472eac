"""SimMIM: a learnt token stands for each hidden patch in the encoder itself, and one linear layer tells their pixels.

paper: SimMIM: A Simple Framework for Masked Image Modeling (Xie et al., CVPR 2022)
needs: one view, or the pictures themselves      modalities: pictures, by an encoder that reads patches
sizes: B pictures, L patches of P x P pixels in C channels, M hidden ones, K seen ones
differences: the official ViT has learnt relative positions in place of fixed ones, and its layers start from a narrow
    normal distribution. The loss is the mean over hidden pixels, without the code's 1e-5 in the denominator.
"""

from typing import Self

import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.roles import Terms
from withstand.losses.restoration.reconstruction import absolute_error_where
from withstand.methods.shared.masked_pictures import FilledMethod, hidden_where, one_view, values_of_a_patch
from withstand.models.blocks.pick import pick
from withstand.models.pictures.normalized import Normalized
from withstand.models.pictures.transformers.patches import TokenEncoder
from withstand.models.pictures.transformers.vit import ViT
from withstand.views.masks import unit_masks


class SimMIM(FilledMethod):
    """Masked image modelling by a light head: the mean absolute error of the hidden patches' pixels.

    Reads view 0 of a batch (its samples where there are no views). Masks hang on seed, step and index alone.

    Args:
        encoder: the network to train; it sees all places, hidden ones as one learnt token.
        ratio: share of the squares that is hidden.
        unit: patches a side of the squares that are hidden; None for 2 where they tile the pictures, as in the paper,
            whose squares have 32 pixels and its patches 16, else 1.
    """

    normalise = False
    """Pixels are told as the encoder reads them; for those who show what is restored."""

    def __init__(self, encoder: TokenEncoder, *, ratio: float = 0.6, unit: int | None = None) -> None:
        super().__init__(encoder, values_of_a_patch(encoder, ratio, False))
        self.ratio, self.unit = ratio, unit

    @classmethod
    def example(cls) -> Self:
        return cls(Normalized(ViT.example(), (0.5,) * 3, (0.25,) * 3))

    def masks(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return this step's seen patches `(B, K)` and hidden ones `(B, M)`, int64."""
        rows, columns = self.encoder.grid(one_view(batch))
        unit = self.unit if self.unit is not None else 1 if rows % 2 or columns % 2 else 2
        return unit_masks(batch.draws("mask"), (rows, columns), self.ratio, unit)

    def step(self, batch: Batch) -> Terms:
        """Return the loss; the mean token of each picture is gauged."""
        return self.terms(one_view(batch), self.masks(batch)[1])

    def terms(self, x: Tensor, hidden: Tensor) -> Terms:
        """Return what `step` returns, for given hidden patches, int64 `(B, M)`."""
        patches = self.encoder.patches(x)
        where = hidden_where(hidden, patches.shape[1])
        told, tokens = self.told(x, where)
        loss = absolute_error_where(told, patches[where], torch.ones_like(told, dtype=torch.bool))
        return {"loss": loss, "embeddings": tokens.detach().mean(1)[None]}

    def restored(self, x: Tensor, keep: Tensor, hidden: Tensor) -> Tensor:
        """Return what the hidden patches are told to be, `(B, M, P*P*C)`, as the encoder reads pixels."""
        where = hidden_where(hidden, keep.shape[1] + hidden.shape[1])
        tokens = self.encoder.filled(x, where, self.filler)[:, self.encoder.prefix :]
        told: Tensor = self.decoder(pick(tokens, hidden))
        return told
