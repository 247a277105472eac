"""What methods share that hide patches of pictures."""

import torch
from torch import Tensor, nn

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import Draws
from withstand.core.roles import Method, Source
from withstand.models.pictures.transformers.patches import TokenEncoder, with_patches
from withstand.models.pictures.transformers.vit import start_linear
from withstand.views.masks import blockwise_masks


def values_of_a_patch(encoder: TokenEncoder, ratio: float, normalise: bool) -> int:
    """Return how many numbers a patch holds, P*P*C.

    Raises:
        ConfigError: the encoder reads no patches, `ratio` is no share, or a patch's one number cannot be normalised.
    """
    values = with_patches(encoder).patch ** 2 * encoder.channels
    if not 0 < ratio < 1:
        raise ConfigError(f"ratio, the share of the patches that is hidden, must lie inside (0, 1), not {ratio!r}")
    if normalise and values < 2:
        raise ConfigError("normalise needs patches of two values or more, not of one: hand over normalise=False")
    return values


def one_view(batch: Batch) -> Tensor:
    """Return view 0 of a batch, its samples where there are no views."""
    return batch.views[0] if batch.views else batch.x


def accept_pictures(name: str, source: Source) -> None:
    """Refuse what holds no pictures.

    Raises:
        DataError: samples are not (C, H, W).
    """
    if len(source.shape) != 3:
        raise DataError(f"{name} learns from pictures (C, H, W), not from samples of shape {source.shape}")


class FilledMethod(Method):
    """A method whose encoder sees a learnt token in place of each hidden patch, and tells something of it by a layer.

    Sizes: B pictures, L patches, n hidden ones in all pictures together, W encoder width.

    Args:
        encoder: the network to train.
        outputs: how many numbers are told of a patch.
    """

    encoder: TokenEncoder

    def __init__(self, encoder: TokenEncoder, outputs: int) -> None:
        super().__init__()
        self.encoder = with_patches(encoder)
        self.filler = nn.Parameter(torch.empty(encoder.width).normal_(std=0.02))
        self.decoder = nn.Linear(encoder.width, outputs)
        start_linear(self.decoder)

    def accept(self, source: Source, batch: int) -> None:
        accept_pictures(type(self).__name__, source)

    def told(self, x: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is told of hidden patches, `(n, outputs)`, picture after picture, and all patches' tokens.

        Args:
            x: pictures `(B, C, H, W)`.
            hidden: bool `(B, L)`.
        """
        tokens = self.encoder.filled(x, hidden, self.filler)[:, self.encoder.prefix :]
        told: Tensor = self.decoder(tokens[hidden])
        return told, tokens


def blocks_of_patches(draws: Draws, grid: tuple[int, int], ratio: float) -> Tensor:
    """Return which patches are hidden, bool `(B, L)`: blocks that cover a share of the grid, as BEiT draws them.

    The smallest block that is asked for is the official code's share of the grid, 16 patches of 196.

    Args:
        draws: each picture's own stream.
        grid: rows and columns of patches.
        ratio: of the patches; fewer may be hidden, never more.
    """
    patches = grid[0] * grid[1]
    most = torch.full((len(draws),), max(1, int(patches * ratio + 1e-9)))
    return blockwise_masks(draws, grid, most, least=patches * 16 / 196)


def hidden_where(hidden: Tensor, patches: int) -> Tensor:
    """Return which of `patches` patches are hidden, bool `(B, L)`, of their places, int64 `(B, M)`."""
    nowhere = torch.zeros(len(hidden), patches, dtype=torch.bool, device=hidden.device)
    return nowhere.scatter_(1, hidden, True)


def summary(tokens: Tensor, prefix: int) -> Tensor:
    """Return the class token of tokens `(B, prefix + L, W)`, the mean of the patches where there is none."""
    return tokens[:, 0] if prefix else tokens.mean(1)
