"""Colorization: tell the colors of a picture's parts from their lightness.

paper: Colorful Image Colorization (Zhang, Isola, Efros; ECCV 2016)
needs: one view, or the pictures themselves      modalities: pictures in color, by an encoder that reads patches
sizes: B pictures, L patches of P x P pixels, S cells in each, Q bins of color, W encoder width
differences: the paper's network is convolutional and ends in maps; here each patch's token tells the colors of its
    cells, of 4 pixels a side, as the paper's, where they divide a patch, else of the whole patch. Bins are the
    squares that sRGB colors lie in, where the code has a list of 313. How common colors are is counted in the training
    set itself, before the first epoch.
"""

from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from withstand.core.batch import Batch, unit_range
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import derive
from withstand.core.roles import Epoch, Method, Source, Terms
from withstand.losses.precision import full_precision
from withstand.methods.shared.masked_pictures import accept_pictures, one_view
from withstand.models.pictures.lab import color_bins, lab
from withstand.models.pictures.normalized import Normalized
from withstand.models.pictures.transformers.patches import TokenEncoder, cut, with_patches
from withstand.models.pictures.transformers.vit import ViT, start_linear

_EACH = 8
"""Cells of each picture whose colors are counted."""
_NEAREST, _SPREAD = 5, 5.0
"""Bins that share a color, and how quickly their shares fall with the distance, as in the paper."""


class Colorization(Method):
    """Color as a choice among bins: the cross-entropy with each cell's color, rare colors counting more.

    Reads view 0 of a batch (its samples where there are no views).

    Args:
        encoder: the network to train; it sees the lightness in all three channels.
        evened: lambda, of how far rare colors are weighted up: 1 for no weights, 0 for the inverse of their frequency.
    """

    encoder: TokenEncoder
    bins: Tensor
    weights: Tensor

    def __init__(self, encoder: TokenEncoder, *, evened: float = 0.5) -> None:
        super().__init__()
        self.encoder = with_patches(encoder)
        if not 0 <= evened <= 1:
            raise ConfigError(f"evened must lie in [0, 1], not {evened!r}")
        self.evened = evened
        self.cells = encoder.patch // 4 if encoder.patch % 4 == 0 else 1
        self.register_buffer("bins", color_bins(), persistent=False)
        self.register_buffer("weights", torch.ones(len(self.bins)))
        self.decoder = nn.Linear(encoder.width, self.cells**2 * len(self.bins))
        start_linear(self.decoder)

    @classmethod
    def example(cls) -> Self:
        return cls(Normalized(ViT.example(), (0.5,) * 3, (0.25,) * 3))

    def accept(self, source: Source, batch: int) -> None:
        accept_pictures("Colorization", source)
        if source.shape[0] != 3:
            raise DataError(f"colors are told of pictures with 3 channels, and these have {source.shape[0]}")

    def before_epoch(self, epoch: Epoch) -> None:
        """Count how common colors are, before the first epoch."""
        if epoch.number:
            return
        generator = torch.Generator().manual_seed(derive(epoch.seed, "colors"))

        def some(x: Tensor) -> Tensor:
            nearest = self._distances(self.colors(x).flatten(1, 2)).argmin(2)
            places = torch.randint(nearest.shape[1], (len(x), _EACH), generator=generator)
            return nearest.gather(1, places.to(nearest.device))

        found = epoch.pass_over(some).flatten()
        self.weights.copy_(rarity(found.bincount(minlength=len(self.bins)), self.bins, self.evened))

    @full_precision
    def colors(self, x: Tensor) -> Tensor:
        """Return each cell's mean a and b, `(B, L, S, 2)`, of pictures `(B, 3, H, W)`."""
        side = self.encoder.patch // self.cells
        axes = avg_pool2d(lab(unit_range(x, self.weights.dtype))[:, 1:].contiguous(), side)
        return cut(axes, self.cells).view(len(x), -1, self.cells**2, 2)

    def _distances(self, colors: Tensor) -> Tensor:
        return torch.cdist(colors, self.bins.to(colors.dtype))

    @torch.no_grad()
    def wanted(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return each cell's shares of the bins, `(B, L, S, Q)`, and what it weighs, `(B, L, S)`."""
        distances, places = self._distances(self.colors(x)).topk(_NEAREST, largest=False)
        shares = (-distances.square() / (2 * _SPREAD**2)).softmax(-1)
        empty = shares.new_zeros(*shares.shape[:-1], len(self.bins))
        return empty.scatter_(-1, places, shares), self.weights[places[..., 0]]

    def step(self, batch: Batch) -> Terms:
        """Return the loss, and the share of cells whose likeliest bin is right, `accuracy`; mean tokens are gauged."""
        x = one_view(batch)
        grey = (lab(unit_range(x, self.weights.dtype))[:, :1] / 100).expand(-1, 3, -1, -1)
        tokens = self.encoder.tokens(grey)[:, self.encoder.prefix :]
        shares, weights = self.wanted(x)
        logits = self.decoder(tokens).view_as(shares)
        right = (logits.detach().argmax(-1) == shares.argmax(-1)).float().mean()
        loss = _cross_entropy(logits, shares, weights)
        return {"loss": loss, "accuracy": right, "embeddings": tokens.detach().mean(1)[None]}


@full_precision
def _cross_entropy(logits: Tensor, shares: Tensor, weights: Tensor) -> Tensor:
    return -((shares * logits.log_softmax(-1)).sum(-1) * weights).mean()


def rarity(counts: Tensor, bins: Tensor, evened: float) -> Tensor:
    """Return what each bin's color weighs, `(Q,)`: 1 in the mean over the set, more for rarer colors.

    As in the paper: w = ((1 - lambda) p + lambda / Q)^-1, of frequencies p smoothed over neighbouring bins.

    Args:
        counts: how often each bin was met, `(Q,)`.
        bins: their a and b, `(Q, 2)`.
        evened: lambda.
    """
    near = (-torch.cdist(bins.double(), bins.double()).square() / (2 * _SPREAD**2)).exp()
    smooth = (near / near.sum(1, keepdim=True)).T @ counts.double()
    smooth = smooth / smooth.sum()
    # Where lambda is 0, a color that is never met must not weigh infinitely much.
    inverse = 1 / ((1 - evened) * smooth + evened / len(bins)).clamp_min(1e-6 / len(bins))
    return inverse / (smooth * inverse).sum()
