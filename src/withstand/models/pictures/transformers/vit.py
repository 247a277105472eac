"""A small Vision Transformer.

An Image is Worth 16x16 Words (2020), with the fixed sine-cosine positions that MoCo v3 and MAE use, columns first, and
their LayerNorms (eps 1e-6). Positions are computed from the grid, so one network takes pictures of any size that its
patches tile.

Sizes: B pictures of C channels, P side of a patch, L patches of which K are seen, T tokens, W width.
"""

from functools import partial
from typing import Literal, Self, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear, scaled_dot_product_attention

from withstand.core.errors import ConfigError, nearest
from withstand.models.blocks.glorot import start_glorot
from withstand.models.blocks.recompute import through
from withstand.models.pictures.transformers.patches import TokenEncoder, cut, pick_blocks

Pooling = Literal["cls", "mean"]


layer_norm = partial(nn.LayerNorm, eps=1e-6)
"""The LayerNorm of the published ViTs."""


class ViT(TokenEncoder):
    """A pre-normalised transformer encoder over picture patches.

    Args:
        patch: side of a patch in pixels.
        width: width of tokens and features; a multiple of `heads` and of 4.
        depth: number of blocks.
        heads: attention heads.
        channels: channels of the pictures.
        pooling: "mean" of the patches, or a learnt "cls" token.
        recompute: compute blocks again in the backward pass, to save memory; see `models.blocks.recompute`.
    """

    def __init__(
        self,
        patch: int = 4,
        width: int = 192,
        depth: int = 6,
        heads: int = 3,
        channels: int = 3,
        pooling: Pooling = "mean",
        *,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        if pooling not in get_args(Pooling):
            raise ConfigError(f"pooling {pooling!r} is unknown: {nearest(str(pooling), get_args(Pooling))}")
        if heads < 1 or width < 4 or width % heads or width % 4:
            raise ConfigError(f"width must be a multiple of 4 and of heads, not width={width}, heads={heads}")
        if patch < 1 or depth < 1:
            raise ConfigError(f"patch and depth must be at least 1, not patch={patch}, depth={depth}")
        self.width, self.patch, self.channels, self.recompute = width, patch, channels, recompute
        self.prefix = int(pooling == "cls")
        self.project = nn.Conv2d(channels, width, patch, patch)
        self.cls = nn.Parameter(torch.empty(1, 1, width).normal_(std=0.02)) if pooling == "cls" else None
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = layer_norm(width)
        start_linear(self)
        # As MAE does: the patch projection is a linear layer in disguise.
        nn.init.xavier_uniform_(self.project.weight.view(width, -1))
        self.register_load_state_dict_pre_hook(_under_its_name_of_today)  # type: ignore[no-untyped-call]  # torch

    @classmethod
    def example(cls) -> Self:
        return cls(2, 12, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return features `(B, width)` of normalised pictures `(B, channels, H, W)`."""
        tokens = self.tokens(x)
        features: Tensor = tokens.mean(1) if self.cls is None else tokens[:, 0]
        return features

    def tokens(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        if keep is None:
            return self._seen(self._entering(x))
        # The convolution is a linear layer: of the seen patches alone, whose values go by row, column, channel.
        weight = self.project.weight.permute(0, 2, 3, 1).flatten(1)
        tokens = linear(cut(x, self.patch, keep), weight, self.project.bias)
        places = positions(*self.grid(x), self.width)
        return self._seen(self._with_class(tokens + places.to(tokens)[keep]))

    def filled(self, x: Tensor, hidden: Tensor, filler: Tensor) -> Tensor:
        return self._seen(self._entering(x, hidden, filler))

    def last_blocks(self, x: Tensor, count: int) -> list[Tensor]:
        return pick_blocks(self.blocks, self._entering(x), count)

    def _entering(self, x: Tensor, hidden: Tensor | None = None, filler: Tensor | None = None) -> Tensor:
        """Return what the first block is given of whole pictures."""
        places = positions(*self.grid(x), self.width)
        tokens = self.project(x).flatten(2).transpose(1, 2)
        if hidden is not None and filler is not None:
            tokens = torch.where(hidden[:, :, None], filler.to(tokens.dtype), tokens)
        return self._with_class(tokens + places.to(tokens))

    def _with_class(self, tokens: Tensor) -> Tensor:
        if self.cls is None:
            return tokens
        return torch.cat([self.cls.to(tokens.dtype).expand(len(tokens), -1, -1), tokens], dim=1)

    def _seen(self, tokens: Tensor) -> Tensor:
        seen: Tensor = self.norm(through(self.blocks, tokens, recompute=self.recompute))
        return seen


def start_linear(network: nn.Module) -> None:
    """Start every linear layer of a network as ViTs start: Xavier-uniform, its bias at 0."""
    start_glorot(network, (nn.Linear,))


def _under_its_name_of_today(_: nn.Module, state: dict[str, Tensor], prefix: str, *rest: object) -> None:
    """Let weights that were saved when the projection was called `patches` still fit."""
    for name in ("weight", "bias"):
        if f"{prefix}patches.{name}" in state:
            state[f"{prefix}project.{name}"] = state.pop(f"{prefix}patches.{name}")


class Block(nn.Module):
    """Self-attention and a perceptron four times as wide, each normalised before and added."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = layer_norm(width), layer_norm(width)
        self.qkv, self.join = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, last: int | None = None) -> Tensor:
        """Return tokens shaped like `x`, `(B, T, W)`, or only the last `last` of them, `(B, last, W)`."""
        count, _, width = x.shape
        wanted, normed = x, self.norm1(x)
        if last is None:
            query, key, value = self._heads(self.qkv(normed), 3)
        else:
            wanted, start = x[:, x.shape[1] - last :], x.shape[1] - last
            weight, bias = self.qkv.weight, self.qkv.bias
            (query,) = self._heads(linear(normed[:, start:], weight[:width], bias[:width]), 1)
            key, value = self._heads(linear(normed, weight[width:], bias[width:]), 2)
        attended = scaled_dot_product_attention(query, key, value)
        x = wanted + self.join(attended.transpose(1, 2).reshape(count, wanted.shape[1], width))
        widened: Tensor = self.narrow(gelu(self.widen(self.norm2(x))))
        return x + widened

    def _heads(self, x: Tensor, parts: int) -> Tensor:
        """Return `(parts, B, heads, T, W / heads)` of `(B, T, parts * W)`."""
        count, tokens, wide = x.shape
        return x.view(count, tokens, parts, self.heads, wide // (parts * self.heads)).permute(2, 0, 3, 1, 4)


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
