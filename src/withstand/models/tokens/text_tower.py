"""CLIP's text encoder: a causal transformer whose last token's state tells the whole text.

Learning Transferable Visual Models From Natural Language Supervision (Radford et al., 2021).
Sizes: `B` texts, `L` words of the longest, `H` width, `A` heads, `V` ids of words.
"""

from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, scaled_dot_product_attention

from withstand.core.errors import ConfigError, DataError
from withstand.core.roles import Model


class CausalBlock(nn.Module):
    """Attention to earlier tokens and a perceptron four times as wide, each normalised before and added.

    The perceptron's activation is x sigmoid(1.702 x).

    Args:
        width: H.
        heads: A.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.into, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens `(B, T, H)` of tokens `(B, T, H)`."""
        count, length, width = x.shape
        query, key, value = self.into(self.norm1(x)).view(count, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(count, length, width))
        inner = self.up(self.norm2(x))
        found: Tensor = x + self.down(inner * torch.sigmoid(1.702 * inner))
        return found


class TextTower(Model):
    """Features of texts. A start and an end are put round every text here; what pads a text is never looked at.

    Texts are computed to the length of the longest one in their company. Weights start as CLIP's do.

    Args:
        vocabulary: V, ids of words, 0 for no word among them.
        width: H, of tokens and features; a multiple of heads.
        layers: blocks.
        heads: A.
        context: the most words of a text.
        dropout: of tokens before each block, where a text is called noisy.
    """

    def __init__(
        self,
        vocabulary: int,
        width: int = 512,
        layers: int = 12,
        heads: int = 8,
        context: int = 75,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if vocabulary < 2 or layers < 1 or context < 1:
            raise ConfigError(
                f"vocabulary must be at least 2, layers and context 1, not {vocabulary!r}, {layers!r} and {context!r}"
            )
        if heads < 1 or width < 1 or width % heads:
            raise ConfigError(f"width must be a multiple of heads, not width={width}, heads={heads}")
        if not 0 <= dropout < 1:
            raise ConfigError(f"dropout must lie in [0, 1), not {dropout!r}")
        self.width, self.context, self.dropout = width, context, dropout
        self.word = nn.Embedding(vocabulary, width)
        self.ends = nn.Parameter(torch.randn(2, width) * 0.02)
        self.places = nn.Parameter(torch.randn(context + 2, width) * 0.01)
        blocks = [CausalBlock(width, heads) for _ in range(layers)]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(width)
        nn.init.normal_(self.word.weight, std=0.02)
        for block in blocks:
            start = width**-0.5
            nn.init.normal_(block.into.weight, std=start)
            nn.init.normal_(block.out.weight, std=start * (2 * layers) ** -0.5)
            nn.init.normal_(block.up.weight, std=(2 * width) ** -0.5)
            nn.init.normal_(block.down.weight, std=start * (2 * layers) ** -0.5)

    @classmethod
    def example(cls) -> Self:
        return cls(11, 12, 1, 2, 6)

    def forward(self, x: Tensor, noisy: bool = False) -> Tensor:
        """Return features `(B, H)`: the state of each text's end.

        Args:
            x: ids of words, int64 `(B, L)`, 0 after a text's end; one word at least.
            noisy: whether dropout acts, in training.

        Raises:
            DataError: other samples, or texts longer than the context.
        """
        if x.dim() != 2 or x.dtype != torch.int64:
            raise DataError(f"texts are ids of words, int64 (B, L), not {x.dtype} {tuple(x.shape)}")
        lengths = (x != 0).sum(1)
        longest = int(lengths.max()) if len(x) else 0
        if longest > self.context:
            raise DataError(f"a text has {longest} words, and this tower reads {self.context}")
        return self.read(self.word(x[:, :longest]), lengths, noisy)

    def read(self, words: Tensor, lengths: Tensor, noisy: bool = False) -> Tensor:
        """Return features `(B, H)` of texts whose words are told as vectors, which need be no known ones.

        Args:
            words: `(B, L, H)`; what stands after a text's end is never looked at.
            lengths: how many words each text has, int64 `(B,)`, at most L.
            noisy: whether dropout acts, in training.
        """
        rows = torch.arange(len(words), device=words.device)
        tokens = torch.cat([self.ends[0].expand(len(words), 1, -1).to(words.dtype), words], 1)
        tokens = torch.cat([tokens, tokens.new_zeros(len(words), 1, self.width)], 1)
        tokens = tokens.index_put((rows, lengths + 1), self.ends[1].to(tokens.dtype).expand(len(words), -1))
        tokens = tokens + self.places[: words.shape[1] + 2]
        rate = self.dropout if noisy and self.training else 0.0
        for block in self.blocks:
            tokens = block(dropout(tokens, rate, True) if rate else tokens)
        found: Tensor = self.norm(tokens[rows, lengths + 1])
        return found
