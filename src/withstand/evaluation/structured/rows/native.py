"""Raw columns as boosting takes them: a column each, categories as categories, missing values as missing.

Sizes: `N` rows, `W` slots, `D` columns.
"""

import torch
from torch import Tensor

from withstand.data.tables.schema import RESERVED, Schema

MOST = 255
"""Categories that scikit-learn's boosting tells apart."""


def native(schema: Schema, x: Tensor, known: int) -> tuple[Tensor, tuple[bool, ...]]:
    """Return rows of slots `(N, W)` as float32 columns `(N, D)`, NaN where missing, and which are categories.

    A category that training did not have counts as missing. Of more than 255 categories the rarest among the first
    `known` rows become one.
    """
    count = len(schema.numeric)
    columns = [torch.where(x[:, count + place] > 0.5, torch.nan, x[:, place]) for place in range(count)]
    for column, first in zip(schema.categorical, schema.offsets.tolist(), strict=True):
        names = column.slots - RESERVED
        codes = x[:, first : first + column.slots].argmax(1)
        gone = codes >= names
        if names > MOST:
            often = torch.bincount(codes[:known], minlength=column.slots)[:names].argsort(descending=True, stable=True)
            place = torch.full((column.slots,), MOST - 1)
            place[often[: MOST - 1]] = torch.arange(MOST - 1)
            codes = place[codes]
        columns.append(torch.where(gone, torch.nan, codes.float()))
    return torch.stack(columns, 1), tuple(column.kind == "categorical" for column in schema.columns)
