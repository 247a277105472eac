"""Heads for tables: perceptron, residual network and Transformer from features, or raw slots, to scores.

Sizes: `B` rows, `F` features, `S` tokens of width `H`, `O` outputs.
"""

import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError
from withstand.core.roles import Model
from withstand.models.tables.transformer import TransformerLayer


class MLP(Model):
    """Linear layers with ReLU and dropout between.

    Args:
        features: F.
        out: O.
        hidden: width of the layers between.
        layers: how many of them; 0 is a linear map.
        dropout: after each ReLU.
    """

    def __init__(self, features: int, out: int, *, hidden: int = 128, layers: int = 2, dropout: float = 0.1) -> None:
        super().__init__()
        if min(features, out, hidden) < 1 or layers < 0:
            raise ConfigError(f"features, out and hidden must be at least 1, layers at least 0: {features}, {out}")
        self.width = out
        steps: list[nn.Module] = []
        for _ in range(layers):
            steps += [nn.Linear(features, hidden), nn.ReLU(), nn.Dropout(dropout)]
            features = hidden
        self.steps = nn.Sequential(*steps, nn.Linear(features, out))

    def forward(self, x: Tensor) -> Tensor:
        """Return scores `(B, O)` of features `(B, F)`."""
        scores: Tensor = self.steps(x)
        return scores


class TableResNet(Model):
    """A residual perceptron: x + drop(linear(drop(relu(linear(batch_norm(x)))))) (Gorishniy et al., 2021).

    Args:
        features: F.
        out: O.
        hidden: width of the residual stream; twice that inside a block.
        blocks: how many.
        dropout: inside blocks.
    """

    def __init__(self, features: int, out: int, *, hidden: int = 128, blocks: int = 2, dropout: float = 0.1) -> None:
        super().__init__()
        self.width = out
        self.into = nn.Linear(features, hidden)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm1d(hidden), nn.Linear(hidden, 2 * hidden), nn.ReLU(), nn.Dropout(dropout),
                nn.Linear(2 * hidden, hidden), nn.Dropout(dropout),
            )
            for _ in range(blocks)
        )  # fmt: skip
        self.end = nn.Sequential(nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, out))

    def forward(self, x: Tensor) -> Tensor:
        """Return scores `(B, O)` of features `(B, F)`."""
        x = self.into(x)
        for block in self.blocks:
            x = x + block(x)
        scores: Tensor = self.end(x)
        return scores


class FTTransformer(Model):
    """The Transformer of FT-Transformer on ready tokens, such as an encoder's; a learnt [CLS] token is read.

    Each token gets a learnt place besides.

    Args:
        tokens: S.
        hidden: H, even.
        out: O.
        layers: Transformer layers.
        heads: attention heads.
        dropout: in every layer.
    """

    def __init__(
        self, tokens: int, hidden: int, out: int, *, layers: int = 2, heads: int = 4, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.tokens, self.hidden, self.width = tokens, hidden, out
        self.gather = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1, hidden), std=0.02))
        self.places = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, tokens, hidden), std=0.02))
        # Small first weights would let the [CLS] token see almost nothing at first.
        self.layers = nn.Sequential(*(TransformerLayer(hidden, heads, 2 * hidden, dropout) for _ in range(layers)))
        self.end = nn.Sequential(nn.LayerNorm(hidden), nn.ReLU(), nn.Linear(hidden, out))

    def forward(self, x: Tensor) -> Tensor:
        """Return scores `(B, O)` of tokens `(B, S, H)`, or `(B, S H)`."""
        x = x.view(len(x), self.tokens, self.hidden) + self.places
        *first, last = self.layers
        x = torch.cat([x, self.gather.expand(len(x), -1, -1)], 1)
        for layer in first:
            x = layer(x)
        scores: Tensor = self.end(last(x, keep=1)[:, 0])
        return scores
