"""Pictures as grids of square patches, and what an encoder of them offers to methods that hide some.

Sizes: B pictures of `C` channels, H x W pixels; P side of a patch; L = H/P * W/P patches, row after row; W width.
"""

from abc import abstractmethod

import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError, DataError
from withstand.core.roles import Model


class TokenEncoder(Model):
    """A network that reads pictures as tokens, one a patch, and can be shown some of the patches alone.

    Attributes:
        patch: P, pixels; 0 in a wrapper round a network without patches, see `with_patches`.
        channels: C, of the pictures.
        prefix: how many tokens come before those of the patches: 1 for a class token.
    """

    patch: int
    channels: int
    prefix: int

    def grid(self, x: Tensor) -> tuple[int, int]:
        """Return how many rows and columns of patches there are in pictures `(B, C, H, W)`.

        Raises:
            DataError: patches do not tile the pictures.
        """
        return grid_of(x, self.patch)

    def patches(self, x: Tensor) -> Tensor:
        """Return the patches as the network reads them, `(B, L, P*P*C)`, in the order of its tokens.

        Inside a patch values go by row, column and channel, as MAE's do. A wrapper that normalises pictures gives
        patches of normalised ones.
        """
        return cut(x, self.patch)

    def pixels(self, patches: Tensor, grid: tuple[int, int]) -> Tensor:
        """Return the pictures `(B, C, H, W)` whose `patches` these are, as the network takes them."""
        return joined(patches, *grid, self.channels)

    @abstractmethod
    def tokens(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """Return what the network makes of each token, `(B, prefix + K, W)`, after its last normalisation.

        Args:
            x: pictures `(B, C, H, W)`.
            keep: the patches that are seen, int64 `(B, K)`, in any order; None for all, in theirs. The network learns
                nothing of the others, and spends no time on them.
        """

    @abstractmethod
    def filled(self, x: Tensor, hidden: Tensor, filler: Tensor) -> Tensor:
        """Return what the network makes of each token, `(B, prefix + L, W)`, where a filler stands for hidden patches.

        Args:
            x: pictures `(B, C, H, W)`.
            hidden: which patches are hidden, bool `(B, L)`; the network learns nothing of them but their places.
            filler: what is put in the place of a hidden patch's embedding, before its position is added, `(W,)`.
        """

    @abstractmethod
    def last_blocks(self, x: Tensor, count: int) -> list[Tensor]:
        """Return the tokens after each of the last `count` blocks, `(B, prefix + L, W)`, before the last normalisation.

        Raises:
            ConfigError: there are fewer blocks.
        """


def with_patches(encoder: Model) -> TokenEncoder:
    """Return the same encoder, as one that reads patches.

    Raises:
        ConfigError: it does not.
    """
    if isinstance(encoder, TokenEncoder) and encoder.patch:
        return encoder
    inner: object = encoder
    while isinstance(getattr(inner, "encoder", None), Model):
        inner = getattr(inner, "encoder")  # noqa: B009 - a wrapper's
    name = getattr(inner, "name", f"a {type(inner).__name__}")  # timm's, of a timm network
    raise ConfigError(f"{name} has no patches to hide: use model vit or timm:vit_*")


def pick_blocks(blocks: nn.Sequential, tokens: Tensor, count: int) -> list[Tensor]:
    """Run blocks one after another, and return what the last `count` of them give.

    Raises:
        ConfigError: there are fewer.
    """
    if not 1 <= count <= len(blocks):
        raise ConfigError(f"the number of last blocks must lie in [1, {len(blocks)}], not {count!r}")
    given: list[Tensor] = []
    for block in blocks:
        tokens = block(tokens)
        given.append(tokens)
    return given[-count:]


def grid_of(x: Tensor, patch: int) -> tuple[int, int]:
    """Return how many rows and columns of patches there are.

    Raises:
        DataError: patches do not tile the pictures.
    """
    height, width = x.shape[-2:]
    if height % patch or width % patch:
        raise DataError(f"patches of {patch} pixels do not tile pictures of {height} x {width}")
    return height // patch, width // patch


def cut(x: Tensor, patch: int, keep: Tensor | None = None) -> Tensor:
    """Return a picture's patches, `(B, L, P*P*C)`, row after row; inside a patch by row, column and channel.

    Args:
        x: pictures `(B, C, H, W)`.
        patch: P.
        keep: the patches that are wanted, int64 `(B, K)`; None for all.
    """
    rows, columns = grid_of(x, patch)
    # Splitting an axis needs no copy, in any memory layout.
    grid = x.view(len(x), -1, rows, patch, columns, patch).permute(0, 2, 4, 3, 5, 1)
    if keep is None:
        return grid.reshape(len(x), rows * columns, -1)
    # One pass over the wanted patches, in place of a copy of all.
    samples = torch.arange(len(x), device=x.device)[:, None]
    return grid[samples, keep // columns, keep % columns].flatten(2)


def joined(patches: Tensor, rows: int, columns: int, channels: int) -> Tensor:
    """Return the pictures `(B, C, H, W)` that were cut into these patches `(B, L, P*P*C)`."""
    side = round((patches.shape[2] / channels) ** 0.5)
    grid = patches.reshape(len(patches), rows, columns, side, side, channels)
    return grid.permute(0, 5, 1, 3, 2, 4).reshape(len(patches), channels, rows * side, columns * side)
