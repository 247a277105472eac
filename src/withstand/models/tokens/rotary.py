"""Transformer layers whose attention knows places by rotation.

Sizes: `B` sequences, `L` tokens, `H` width, `A` heads.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, gelu, scaled_dot_product_attention

from withstand.core.errors import ConfigError


def rotate(x: Tensor, places: Tensor, base: float = 10_000.0) -> Tensor:
    """Return vectors whose neighboring pairs of numbers are turned by their place times a frequency of the pair.

    RoFormer (Su et al., 2021): pair i of D / 2 turns by place / base^(2 i / D), so that products of two turned vectors
    hang on the difference of their places alone. Angles are float32 at least.

    Args:
        x: `(..., L, D)`, D even.
        places: `(L,)`.
        base: of the frequencies.
    """
    width = x.shape[-1]
    exact = torch.promote_types(x.dtype, torch.float32)
    slow = base ** (-torch.arange(0, width, 2, device=x.device, dtype=exact) / width)
    angle = places.to(exact)[:, None] * slow
    cosine, sine = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack([even * cosine - odd * sine, odd * cosine + even * sine], -1).flatten(-2)


class RotaryLayer(nn.Module):
    """Attention with rotated queries and keys, and a gated perceptron, as in netFound.

    Attention is post-norm: its output is added to what came, and normalised (epsilon 1e-12). The perceptron is
    pre-norm, has no biases, and multiplies one half of its inner numbers by the activation of the other (GeGLU, Shazeer
    2020, with the tanh form of GELU).

    Args:
        hidden: H, so that H / A is even.
        heads: A, a divisor of H.
        feedforward: inner width of the perceptron.
        dropout: on attention's weights, after attention and inside the perceptron.
    """

    def __init__(self, hidden: int, heads: int, feedforward: int, dropout: float = 0.0) -> None:
        super().__init__()
        if heads < 1 or hidden % heads or hidden // heads % 2:
            raise ConfigError(f"heads must divide the width {hidden} into even parts, not {heads}")
        if feedforward < 1:
            raise ConfigError(f"feedforward must be at least 1, not {feedforward}")
        if not 0 <= dropout < 1:
            raise ConfigError(f"dropout must lie in [0, 1), not {dropout!r}")
        self.heads, self.dropout = heads, dropout
        self.into, self.out = nn.Linear(hidden, 3 * hidden), nn.Linear(hidden, hidden)
        self.norm1 = nn.LayerNorm(hidden, eps=1e-12)
        self.norm2 = nn.LayerNorm(hidden, bias=False)
        self.up = nn.Linear(hidden, 2 * feedforward, bias=False)
        self.down = nn.Linear(feedforward, hidden, bias=False)

    def forward(self, x: Tensor, own: Tensor | None = None) -> Tensor:
        """Return tokens `(B, L, H)` of tokens `(B, L, H)`.

        Args:
            x: the tokens.
            own: which are a sequence's own, bool `(B, L)`, at least one of each; nobody looks at the others. None for
                all.
        """
        x = self.norm1(x + self._drop(self.out(self._attend(x, own))))
        gate, value = self.up(self.norm2(x)).chunk(2, -1)
        found: Tensor = x + self.down(self._drop(gelu(gate, approximate="tanh") * value))
        return found

    def _attend(self, x: Tensor, own: Tensor | None) -> Tensor:
        count, length, width = x.shape
        query, key, value = self.into(x).view(count, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        places = torch.arange(length, device=x.device)
        query, key = rotate(query, places), rotate(key, places)
        seen = None if own is None else own[:, None, None, :]
        rate = self.dropout if self.training else 0.0
        mixed = scaled_dot_product_attention(query, key, value, attn_mask=seen, dropout_p=rate)
        return mixed.transpose(1, 2).reshape(count, length, width)

    def _drop(self, x: Tensor) -> Tensor:
        return dropout(x, self.dropout, self.training) if self.dropout else x
