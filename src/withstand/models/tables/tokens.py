"""Columns as tokens, and the place of a token.

Sizes: `B` rows, `D` columns, `W` slots of a row, `R` [REG] tokens, `H` token width.
"""

import math

import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError, DataError
from withstand.data.tables.schema import Schema


class ColumnTokenizer(nn.Module):
    """One token a column, linear in the row's slots, after [REG] tokens that no row changes (FT-Transformer, 2021).

    Numeric column j: x_j w_j + b_j; where the value is missing, a learnt token in place of x_j w_j. Categorical column:
    its category's embedding + b_j. [REG]: w_r.

    Args:
        schema: the columns.
        hidden: H.
        reg_tokens: R.
        value_scale: standard deviation of the first weights of values and categories; None for those of the papers,
            uniform within 1 / sqrt(H) and normal with 0.02, beside which a token's place and bias are loud.
    """

    def __init__(self, schema: Schema, hidden: int, reg_tokens: int = 0, *, value_scale: float | None = None) -> None:
        super().__init__()
        if hidden < 1 or reg_tokens < 0:
            raise ConfigError(f"hidden must be at least 1 and reg_tokens at least 0, not {hidden} and {reg_tokens}")
        if value_scale is not None and not value_scale > 0:
            raise ConfigError(f"value_scale must be above 0, or None, not {value_scale!r}")
        self.count, self.slots = len(schema.numeric), [column.slots for column in schema.categorical]
        self.columns, self.width, self.reg_tokens = len(schema.columns), schema.width, reg_tokens
        bound = 1 / math.sqrt(hidden)  # Kaiming's uniform law with a = sqrt(5)

        def uniform(rows: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(rows, hidden).uniform_(-bound, bound))

        self.bias = uniform(self.columns)
        self.reg = uniform(reg_tokens) if reg_tokens else None
        self.weight = uniform(self.count) if self.count else None
        self.missing = uniform(self.count) if self.count else None
        self.embedding = None
        if self.slots:
            self.embedding = nn.Parameter(nn.init.trunc_normal_(torch.empty(sum(self.slots), hidden), std=0.02))
        if value_scale is not None:
            for parameter in (self.weight, self.embedding):
                if parameter is not None:
                    nn.init.normal_(parameter, std=value_scale)

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens `(B, R + D, H)` of rows `(B, W)`.

        Raises:
            DataError: rows of another width.
        """
        if x.dim() != 2 or x.shape[1] != self.width:
            raise DataError(f"rows must be (B, {self.width}), not {tuple(x.shape)}: code them by the encoder's schema")
        x = x.to(self.bias.dtype)
        parts = [] if self.reg is None else [self.reg.expand(len(x), -1, -1)]
        if self.weight is not None and self.missing is not None:
            value, gone = x[:, : self.count, None], x[:, self.count : 2 * self.count, None]
            parts.append(value * (1 - gone) * self.weight + gone * self.missing + self.bias[: self.count])
        if self.embedding is not None:
            flags, tables = torch.split(x[:, 2 * self.count :], self.slots, 1), torch.split(self.embedding, self.slots)
            blocks = zip(flags, tables, strict=True)
            parts.append(torch.stack([block @ table for block, table in blocks], 1) + self.bias[self.count :])
        return torch.cat(parts, 1)


def interleaved_waves(count: int, width: int, *, base: float = 100.0) -> Tensor:
    """Return places as waves `(count, width)`: sines in even entries, cosines in odd ones."""
    angles = _angles(count, width, base)
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)


def halved_waves(count: int, width: int, *, base: float = 10_000.0) -> Tensor:
    """Return places as waves `(count, width)`: sines in the first half, cosines in the second."""
    angles = _angles(count, width, base)
    return torch.cat([angles.sin(), angles.cos()], 1)


def _angles(count: int, width: int, base: float) -> Tensor:
    if width % 2:
        raise ConfigError(f"the width of tokens with places in waves must be even, not {width}")
    rates = torch.exp(torch.arange(0, width, 2) * (-math.log(base) / width))
    return torch.arange(count)[:, None] * rates
