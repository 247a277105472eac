"""data2vec: tell, from a picture with hidden patches, what a slow teacher's upper blocks make of the whole picture.

paper: data2vec: A General Framework for Self-supervised Learning in Speech, Vision and Language (Baevski et al., ICML
    2022), its vision half
needs: one view, or the pictures themselves      modalities: pictures, by an encoder that reads patches
sizes: B pictures, L patches, n hidden ones in all pictures together, W encoder width
differences: the official ViT has relative positions, learnt scales of its blocks and stochastic depth; layers start as
    the library's ViT does. The smallest block of hidden patches is the code's share of the grid, 16 of 196, on any
    grid. The mean over hidden patches is that of the batch over all processes.
"""

from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import layer_norm, smooth_l1_loss

from withstand.core.batch import Batch
from withstand.core.devices.distributed import mean_of_all
from withstand.core.errors import ConfigError
from withstand.core.roles import Source, Terms
from withstand.losses.precision import full_precision
from withstand.methods.shared.masked_pictures import FilledMethod, blocks_of_patches, one_view
from withstand.methods.shared.pairs import require_positive
from withstand.models.blocks.memory.ema import Momentum, Teacher
from withstand.models.pictures.normalized import Normalized
from withstand.models.pictures.transformers.patches import TokenEncoder
from withstand.models.pictures.transformers.vit import ViT

MOMENTUM = Momentum(0.9998, None)


class Data2Vec(FilledMethod):
    """Self-distillation of contextual features: the smooth L1 error of the teacher's mean upper tokens.

    Reads view 0 of a batch (its samples where there are no views). Masks hang on seed, step and index alone.

    Args:
        encoder: the network to train; it sees all places, hidden ones as one learnt token.
        layers: how many of the teacher's last blocks are averaged, each normalised over a token's entries first.
        ratio: share of the patches that blocks of them hide, or somewhat less.
        beta: error up to which the loss is quadratic.
        momentum: of the teacher. Short runs want less than the paper's.
    """

    def __init__(
        self,
        encoder: TokenEncoder,
        *,
        layers: int = 6,
        ratio: float = 120 / 196,
        beta: float = 2.0,
        momentum: Momentum = MOMENTUM,
    ) -> None:
        super().__init__(encoder, encoder.width)
        require_positive(beta=beta)
        if not 0 < ratio < 1:
            raise ConfigError(f"ratio, the share of the patches that is hidden, must lie inside (0, 1), not {ratio!r}")
        if layers < 1:
            raise ConfigError(f"layers must be at least 1, not {layers!r}")
        self.layers, self.ratio, self.beta = layers, ratio, beta
        self.teacher = Teacher(encoder, momentum)
        self.train(self.training)

    @classmethod
    def example(cls) -> Self:
        return cls(Normalized(ViT.example(), (0.5,) * 3, (0.25,) * 3), layers=1)

    def accept(self, source: Source, batch: int) -> None:
        super().accept(source, batch)
        with torch.no_grad():
            self.encoder.last_blocks(source[[0]].x, self.layers)  # has so many, or says what it has

    def train(self, mode: bool = True) -> Self:
        """Set the mode; the teacher stays in eval mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def masks(self, batch: Batch) -> Tensor:
        """Return which patches are hidden, bool `(B, L)`."""
        return blocks_of_patches(batch.draws("mask"), self.encoder.grid(one_view(batch)), self.ratio)

    def step(self, batch: Batch) -> Terms:
        """Return the loss; the student's mean token of each picture is gauged."""
        return self.terms(one_view(batch), self.masks(batch))

    def terms(self, x: Tensor, hidden: Tensor) -> Terms:
        """Return what `step` returns, for given hidden patches, bool `(B, L)`."""
        told, tokens = self.told(x, hidden)
        errors = _errors(told, self.wanted(x)[hidden], self.beta)
        return {"loss": mean_of_all(errors), "embeddings": tokens.detach().mean(1)[None]}

    @torch.no_grad()
    def wanted(self, x: Tensor) -> Tensor:
        """Return what is to be told of every patch of whole pictures, `(B, L, W)`."""
        network = self.teacher.network
        return _mean(*network.last_blocks(x, self.layers))[:, network.prefix :]

    def before_run(self, steps: int) -> None:
        self.teacher.before_run(steps)

    def after_step(self, step: int) -> None:
        self.teacher.follow(self.encoder, step)


@full_precision
def _mean(*tokens: Tensor) -> Tensor:
    """Return the mean of blocks' tokens, each normalised over its entries first."""
    return torch.stack([layer_norm(one, one.shape[-1:]) for one in tokens]).mean(0)


@full_precision
def _errors(told: Tensor, wanted: Tensor, beta: float) -> Tensor:
    """Return the mean smooth L1 error of each patch, `(n,)`."""
    return smooth_l1_loss(told, wanted, reduction="none", beta=beta).mean(1)
