"""A light decoder of hidden patches.

Masked Autoencoders Are Scalable Vision Learners (He et al., 2022): one learnt token stands for every hidden patch,
fixed positions tell them apart. The official code puts the tokens back into the order of the grid; attention does not
ask for one, so that here the visible patches come first, then the hidden ones, each with its own position.

Sizes: B pictures, K visible and M hidden patches of a grid, S tokens before them (a class token), W width.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear

from withstand.core.errors import ConfigError
from withstand.models.pictures.transformers.vit import Block, layer_norm, positions, start_linear


class MaskedTokens(nn.Module):
    """A decoder's input: the visible tokens, brought to its width, and a mask token for each hidden patch.

    Args:
        encoder_width: of the tokens that come.
        width: W of those that are given, a multiple of 4.
    """

    def __init__(self, encoder_width: int, width: int = 512) -> None:
        super().__init__()
        if width < 4 or width % 4:
            raise ConfigError(f"a decoder's width must be a multiple of 4, not {width!r}")
        self.width = width
        self.enter = nn.Linear(encoder_width, width)
        self.token = nn.Parameter(torch.empty(1, 1, width).normal_(std=0.02))
        start_linear(self)

    def forward(self, tokens: Tensor, keep: Tensor, hidden: Tensor, grid: tuple[int, int]) -> Tensor:
        """Return tokens `(B, S + K + M, W)`: those before the patches, the visible patches', the hidden ones'.

        Args:
            tokens: the encoder's, `(B, S + K, encoder_width)`.
            keep: the visible patches, int64 `(B, K)`, in the order of `tokens`.
            hidden: the hidden patches, int64 `(B, M)`; or N sets of them, `(B, N, M)`, each to be told on its own: then
                what is returned is `(B * N, ...)`, a picture's sets after one another.
            grid: rows and columns of patches.
        """
        seen = self.enter(tokens)
        places = positions(*grid, self.width).to(seen)
        before = tokens.shape[1] - keep.shape[1]
        seen = torch.cat([seen[:, :before], seen[:, before:] + places[keep]], 1)
        if hidden.dim() == 3:
            seen, hidden = seen.repeat_interleave(hidden.shape[1], 0), hidden.flatten(0, 1)
        return torch.cat([seen, self.token.to(seen.dtype) + places[hidden]], 1)


class PatchDecoder(nn.Module):
    """A Transformer from tokens to numbers for each, as the values of a patch.

    Args:
        outputs: numbers for each token.
        width: W of the tokens, a multiple of `heads`.
        depth: number of blocks.
        heads: attention heads.
    """

    def __init__(self, outputs: int, width: int = 512, depth: int = 8, heads: int = 16) -> None:
        super().__init__()
        if heads < 1 or width % heads or depth < 1:
            raise ConfigError(
                f"a decoder's depth must be at least 1 and its width a multiple of its heads, not depth={depth}, "
                f"width={width}, heads={heads}"
            )
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = layer_norm(width)
        self.leave = nn.Linear(width, outputs)
        start_linear(self)

    def forward(self, tokens: Tensor, last: int) -> Tensor:
        """Return what is made of the last `last` tokens, `(B, last, outputs)`, of tokens `(B, T, W)`."""
        numbers: Tensor = self.leave(self._seen(tokens, last))
        return numbers

    def means(self, tokens: Tensor, last: int) -> Tensor:
        """Return the mean of a token's outputs, `(B, last)`, by the mean of their weights: it is less to work out."""
        weight, bias = self.leave.weight.mean(0, keepdim=True), self.leave.bias.mean()[None]
        return linear(self._seen(tokens, last), weight, bias)[..., 0]

    def _seen(self, tokens: Tensor, last: int) -> Tensor:
        *before, end = self.blocks
        for block in before:
            tokens = block(tokens)
        normed: Tensor = self.norm(end(tokens, last))  # nobody asks what the last block makes of the others
        return normed


class LightDecoder(nn.Module):
    """A perceptron from each patch's token to its pixels, as SiT's (Atito et al., 2021).

    Its last layer is a transposed convolution of patches, as the official code has it: one bias a channel.

    Args:
        width: W of the tokens.
        patch: P.
        channels: C.
    """

    def __init__(self, width: int, patch: int, channels: int) -> None:
        super().__init__()
        layers = [nn.Linear(width, width) for _ in range(3)]
        self.layers = nn.ModuleList(layers)
        self.leave = nn.ConvTranspose2d(width, channels, patch, patch)
        for layer in layers:
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return patches `(B, L, P*P*C)` of tokens `(B, L, W)`, by row, column and channel."""
        for layer in self.layers:
            tokens = gelu(layer(tokens))
        weight, bias = self.leave.weight, self.leave.bias
        assert bias is not None
        # Patches do not overlap: the transposed convolution is a linear layer of each token.
        return linear(tokens, weight.permute(2, 3, 1, 0).flatten(0, 2), bias.repeat(weight[0, 0].numel()))
