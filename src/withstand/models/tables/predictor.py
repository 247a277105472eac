"""A predictor of hidden tokens: learnt queries with a place attend to what is seen (I-JEPA's, for columns).

Sizes: `B` rows, `K` seen tokens, `M` sets of `T` queries, `H` the encoder's token width, `P` the predictor's.
"""

import torch
from torch import Tensor, nn

from withstand.models.tables.tokens import halved_waves
from withstand.models.tables.transformer import begun, closing, stack


class QueryPredictor(nn.Module):
    """Predict the tokens at some places from tokens at others.

    Args:
        width: H.
        places: how many places there are; place `places` stands for none, and adds nothing.
        hidden: P, even.
        layers: Transformer layers.
        heads: attention heads, a divisor of P.
        feedforward: width of the perceptrons inside; None for 4 P.
        dropout: in every layer.
    """

    waves: Tensor

    def __init__(
        self,
        width: int,
        places: int,
        *,
        hidden: int = 32,
        layers: int = 2,
        heads: int = 4,
        feedforward: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.into, self.out = begun(nn.Linear(width, hidden)), begun(nn.Linear(hidden, width))
        self.query = nn.Parameter(nn.init.trunc_normal_(torch.empty(hidden), std=0.02))
        self.layers = stack(layers, hidden, heads, feedforward or 4 * hidden, dropout)
        self.end, self.norm = closing(hidden, dropout), nn.LayerNorm(hidden)
        waves = torch.cat([halved_waves(places, hidden), torch.zeros(1, hidden)])
        self.register_buffer("waves", waves, persistent=False)

    def forward(self, seen: Tensor, at: Tensor, wanted: Tensor) -> Tensor:
        """Return predicted tokens `(B, M, T, H)`; each set is predicted on its own.

        Args:
            seen: the encoder's tokens `(B, K, H)`.
            at: their places, int64 `(B, K)`.
            wanted: the places to predict, int64 `(B, M, T)`.
        """
        rows, sets, count = wanted.shape
        keys = (self.into(seen) + self.waves[at])[:, None].expand(-1, sets, -1, -1)
        tokens = torch.cat([keys, self.query + self.waves[wanted]], 2).flatten(0, 1)
        *first, last = self.layers
        for layer in first:
            tokens = layer(tokens)
        # The last layer need not say what becomes of the seen tokens.
        found: Tensor = self.out(self.norm(self.end(last(tokens, keep=count))))
        return found.view(rows, sets, count, -1)
