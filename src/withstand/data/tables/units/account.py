"""What became of a table's columns, in words: which are learnt from, as which kind, and which are left out and why."""

from collections.abc import Sequence

import torch
from torch import Tensor

from withstand.data.tables.frame import short
from withstand.data.tables.infer import Target
from withstand.data.tables.schema import Column, Schema

_MOST = 12
"""Columns of one kind that are named; a table has thousands."""


def account_of(schema: Schema, target: Target, rows: int, whole: int) -> list[str]:
    """Return what is told of a table before it is learnt from, line by line.

    Args:
        schema: its columns.
        target: what is predicted, of these rows.
        rows: how many these are.
        whole: how many the table has.
    """
    lines = [f"{rows:,} of the table's {whole:,} rows are learnt from, {whole - rows:,} are kept to judge by"]
    lines = lines if rows < whole else [f"all {rows:,} rows of the table are learnt from"]
    if schema.target is not None and target.known is not None:
        lines.append(f"target: {short(schema.target)[1:-1]}, {_answer(target, target.known)}")
    return [*lines, *account_of_columns(schema)]


def account_of_columns(schema: Schema) -> list[str]:
    """Return which columns are learnt from, as which kind, and which are left out and why, line by line."""
    dates = [column for column in schema.numeric if column.dated]
    numbers = [column for column in schema.numeric if not column.dated]
    kinds = {"numeric": numbers, "dates": dates, "categorical": schema.categorical}
    lines = [f"{kind} ({len(held):,}): {_named(list(map(_shown, held)))}" for kind, held in kinds.items() if held]
    if schema.left_out:
        left = [f"{short(name)[1:-1]} ({reason})" for name, reason in schema.left_out]
        lines.append(f"left out ({len(left):,}): {_named(left, '; ')}")
    return lines


def _named(told: Sequence[str], between: str = ", ") -> str:
    more = f" and {len(told) - _MOST:,} more" if len(told) > _MOST else ""
    return between.join(told[:_MOST]) + more


def _shown(column: Column) -> str:
    gaps = f", {column.missing:.1%} missing" if column.missing else ""
    if column.kind == "categorical":
        return f"{short(column.name)[1:-1]} ({len(column.categories):,}{gaps})"
    return f"{short(column.name)[1:-1]} ({column.shown(column.low)} to {column.shown(column.high)}{gaps})"


def _answer(target: Target, known: Tensor) -> str:
    """Return what is predicted, in words."""
    labels, values = target.labels, target.values
    gaps = f", missing in {int((~known).sum()):,}" if not bool(known.all()) else ""
    if labels is not None:
        counts = torch.bincount(labels[known], minlength=len(target.classes))
        held = [
            f"{short(name, 30)[1:-1]} {count:,}" for name, count in zip(target.classes, counts.tolist(), strict=True)
        ]
        return f"{len(held):,} classes ({_named(held)}){gaps}"
    assert values is not None
    return f"a number from {values[known].min():g} to {values[known].max():g}{gaps}"
