"""An encoder of table rows: columns as tokens through a Transformer (FT-Transformer's shape, T-JEPA's details).

Sizes: `B` rows, `D` columns, `W` slots of a row, `R` [REG] tokens, `H` token width.
"""

from typing import Literal, Self, TypeAlias, get_args

import torch
from torch import Tensor

from withstand.core.errors import ConfigError, nearest
from withstand.core.roles import Model
from withstand.data.tables.schema import Schema
from withstand.data.tables.source import TableSource
from withstand.models.blocks.pick import pick
from withstand.models.tables.tokens import ColumnTokenizer, interleaved_waves
from withstand.models.tables.transformer import closing, stack

Pool: TypeAlias = Literal["flatten", "mean", "max", "reg", "columns"]


class TableEncoder(Model):
    """Rows to features, one output token a column and one a [REG].

    It holds its schema: whoever has the encoder can code rows for it.

    Args:
        schema: the columns, as training rows showed them.
        hidden: H, even.
        layers: Transformer layers.
        heads: attention heads, a divisor of H.
        feedforward: width of the perceptrons inside; None for 2 H.
        dropout: in every layer and round the last ones.
        reg_tokens: R; without any, predicting latents tends to collapse.
        value_scale: standard deviation of the first weights of values and categories; None for the papers' small ones.
        pool: what `forward` gives: all tokens one after the other ("flatten", width (R + D) H), those of the columns
            ("columns", width D H), their mean or largest entries ("mean", "max"), or the mean [REG] token ("reg").
    """

    places: Tensor

    def __init__(
        self,
        schema: Schema,
        *,
        hidden: int = 64,
        layers: int = 4,
        heads: int = 4,
        feedforward: int | None = None,
        dropout: float = 0.0,
        reg_tokens: int = 1,
        value_scale: float | None = None,
        pool: Pool = "flatten",
    ) -> None:
        super().__init__()
        if pool not in get_args(Pool):
            raise ConfigError(f"pool {pool!r} is unknown: {nearest(str(pool), get_args(Pool))}")
        if pool == "reg" and not reg_tokens:
            raise ConfigError("pool='reg' needs reg_tokens")
        self.schema, self.hidden, self.reg_tokens, self.pool = schema, hidden, reg_tokens, pool
        self.columns = len(schema.columns)
        kept = {"flatten": reg_tokens + self.columns, "columns": self.columns}.get(pool, 1)
        self.width = kept * hidden
        self.tokenizer = ColumnTokenizer(schema, hidden, reg_tokens, value_scale=value_scale)
        self.layers = stack(layers, hidden, heads, feedforward or 2 * hidden, dropout)
        # The closing LayerNorm matters: as targets, features then have about unit scale.
        self.end = closing(hidden, dropout)
        places = interleaved_waves(reg_tokens + self.columns, hidden)
        self.register_buffer("places", places, persistent=False)  # part of the configuration, so not of the state

    @classmethod
    def example(cls) -> Self:
        return cls(TableSource.example().schema, hidden=8, layers=1, heads=2)

    def tokens(self, x: Tensor, columns: Tensor | None = None) -> Tensor:
        """Return output tokens of rows `(B, W)`, [REG] first.

        Args:
            x: the rows.
            columns: the columns that are seen, int64 `(B, n)`; the others are not masked but absent. None for all.

        Returns:
            `(B, R + n, H)`, in the order of `columns`.
        """
        seen = self.tokenizer(x) + self.places
        if columns is not None:
            always = torch.arange(self.reg_tokens, device=columns.device).expand(len(columns), -1)
            seen = pick(seen, torch.cat([always, columns + self.reg_tokens], 1))
        out: Tensor = self.end(self.layers(seen))
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Return features `(B, width)` of rows `(B, W)`."""
        return self.pooled(self.tokens(x))

    def pooled(self, tokens: Tensor) -> Tensor:
        """Return features `(B, width)` of output tokens `(B, R + D, H)`."""
        reg, columns = tokens[:, : self.reg_tokens], tokens[:, self.reg_tokens :]
        if self.pool == "flatten":
            return tokens.flatten(1)
        if self.pool == "columns":
            return columns.flatten(1)
        if self.pool == "reg":
            return reg.mean(1)
        return columns.mean(1) if self.pool == "mean" else columns.amax(1)
