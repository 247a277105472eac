"""A small Vision Transformer.

An Image is Worth 16x16 Words (2020), with the fixed sine-cosine positions that MoCo v3 and MAE use, columns first, and
their LayerNorms (eps 1e-6). Positions are computed from the grid, so one network takes pictures of any size that its
patches tile.

Sizes: B pictures, T = H/p * W/p patches, W width.
"""

from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.roles import Model

Pooling = Literal["cls", "mean"]


layer_norm = partial(nn.LayerNorm, eps=1e-6)
"""The LayerNorm of the published ViTs."""


class ViT(Model):
    """A pre-normalised transformer encoder over picture patches.

    Args:
        patch: side of a patch in pixels.
        width: width of tokens and features; a multiple of `heads` and of 4.
        depth: number of blocks.
        heads: attention heads.
        channels: channels of the pictures.
        pooling: "mean" of the patches, or a learnt "cls" token.
    """

    def __init__(
        self,
        patch: int = 4,
        width: int = 192,
        depth: int = 6,
        heads: int = 3,
        channels: int = 3,
        pooling: Pooling = "mean",
    ) -> None:
        super().__init__()
        if pooling not in get_args(Pooling):
            raise ConfigError(f"pooling {pooling!r} is unknown: {nearest(str(pooling), get_args(Pooling))}")
        if heads < 1 or width < 4 or width % heads or width % 4:
            raise ConfigError(f"width must be a multiple of 4 and of heads, not width={width}, heads={heads}")
        if patch < 1 or depth < 1:
            raise ConfigError(f"patch and depth must be at least 1, not patch={patch}, depth={depth}")
        self.width = width
        self.patch = patch
        self.patches = nn.Conv2d(channels, width, patch, patch)
        self.cls = nn.Parameter(torch.empty(1, 1, width).normal_(std=0.02)) if pooling == "cls" else None
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = layer_norm(width)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        # As MAE does: the patch projection is a linear layer in disguise.
        nn.init.xavier_uniform_(self.patches.weight.view(width, -1))

    def forward(self, x: Tensor) -> Tensor:
        """Return features `(B, width)` of normalised pictures `(B, channels, H, W)`."""
        if x.shape[-2] % self.patch or x.shape[-1] % self.patch:
            raise DataError(f"patches of {self.patch} pixels do not tile pictures of {x.shape[-2]} x {x.shape[-1]}")
        grid = self.patches(x)
        tokens = grid.flatten(2).transpose(1, 2)
        tokens = tokens + positions(grid.shape[-2], grid.shape[-1], self.width).to(tokens)
        if self.cls is not None:
            tokens = torch.cat([self.cls.to(tokens.dtype).expand(len(x), -1, -1), tokens], dim=1)
        tokens = self.norm(self.blocks(tokens))
        features: Tensor = tokens.mean(1) if self.cls is None else tokens[:, 0]
        return features


class Block(nn.Module):
    """Self-attention and a perceptron four times as wide, each normalised before and added."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = layer_norm(width), layer_norm(width)
        self.qkv, self.join = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens shaped like `x`, `(B, T, W)`."""
        count, tokens, width = x.shape
        qkv = self.qkv(self.norm1(x)).view(count, tokens, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        attended = scaled_dot_product_attention(query, key, value)
        x = x + self.join(attended.transpose(1, 2).reshape(count, tokens, width))
        widened: Tensor = self.narrow(gelu(self.widen(self.norm2(x))))
        return x + widened


def positions(rows: int, columns: int, width: int) -> Tensor:
    """Return fixed positions `(rows * columns, width)`: sines and cosines of the column, then of the row, as MAE's.

    Wavelengths grow geometrically from 2 pi to 20,000 pi.
    """
    rate = 10_000 ** (-torch.arange(width // 4) / (width // 4))
    vertical = torch.arange(rows)[:, None] * rate
    horizontal = torch.arange(columns)[:, None] * rate
    row = torch.cat([vertical.sin(), vertical.cos()], dim=1)[:, None].expand(-1, columns, -1)
    column = torch.cat([horizontal.sin(), horizontal.cos()], dim=1)[None].expand(rows, -1, -1)
    return torch.cat([column, row], dim=2).flatten(0, 1)
