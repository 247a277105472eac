"""Rows given back as a table has them: numbers in their units, dates, words."""

import math

import numpy as np
from torch import Tensor

from withstand.data.tables.schema import Column, Schema

_STEPS = (1, 60, 3600, 86400)
"""Seconds to which dates are rounded: the first that their column's float32 numbers can tell apart."""


def rows_as_text(schema: Schema, x: Tensor) -> dict[str, list[str]]:
    """Return rows of slots `(B, W)` as texts, by column; "" where a value is missing.

    Numbers are rounded to what float32 tells apart over the column's range, dates to the second, minute, hour or day.
    """
    held = {column.name: column for column in schema.columns}
    return {
        name: [word or "" for word in values] if isinstance(values, list) else _numbers(held[name], values)
        for name, values in schema.units(x).items()
    }


def _numbers(column: Column, values: np.ndarray) -> list[str]:
    least = (column.high - column.low) * 2**-23
    if column.dated:
        step = next((step for step in _STEPS if step >= 2 * least), _STEPS[-1])
        return ["" if math.isnan(value) else column.shown(round(value / step) * step) for value in values.tolist()]
    digits = 15 if least <= 0 else max(0, -math.ceil(math.log10(2 * least)))
    return ["" if math.isnan(value) else f"{round(value, digits):.15g}" for value in values.tolist()]
