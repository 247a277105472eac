"""Sparse matrices for graphs: a pattern that is sorted once and used at every step, and products that follow it.

Sizes: `R` rows, `C` columns, `E` stored entries. A graph's edges are a pattern `(N, N)` whose rows are the targets
and whose columns are the sources; word features are a pattern `(N, F)` with values.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class Pattern:
    """Where the entries of a sparse matrix lie, row by row.

    Args:
        start: where each row's entries begin, and the end of the last, `(R + 1,)`.
        column: the column of each entry, `(E,)`.
        columns: C.
        weight: of a graph's edges, above 0, float32 `(E,)`: an edge of weight w counts as w edges. None where each
            counts once.
    """

    def __init__(self, start: Tensor, column: Tensor, columns: int, weight: Tensor | None = None) -> None:
        self.start, self.column, self.columns = start.to(torch.int32), column.to(torch.int32), columns
        self.weight = weight
        self._repeated: dict[int, Pattern] = {}

    @classmethod
    def of(cls, row: Tensor, column: Tensor, rows: int, columns: int, weight: Tensor | None = None) -> "Pattern":
        """Return the pattern of entries in any order; they are sorted by row, then by column."""
        order = (row.long() * columns + column.long()).argsort()
        return cls(_starts(row, rows), column[order], columns, _at(weight, order))

    def __len__(self) -> int:
        return len(self.column)

    @property
    def rows(self) -> int:
        """R."""
        return len(self.start) - 1

    @property
    def device(self) -> torch.device:
        """Where it lies."""
        return self.column.device

    @cached_property
    def lengths(self) -> Tensor:
        """The number of entries of each row, int64 `(R,)`."""
        return self.start.diff().long()

    @cached_property
    def row(self) -> Tensor:
        """The row of each entry, int64 `(E,)`."""
        return torch.repeat_interleave(torch.arange(self.rows, device=self.device), self.lengths)

    @cached_property
    def transposed(self) -> tuple["Pattern", Tensor]:
        """The pattern with rows and columns exchanged, and the order `(E,)` in which it takes the entries."""
        order = self.column.argsort(stable=True)
        turned = Pattern(_starts(self.column, self.columns), self.row[order], self.rows, _at(self.weight, order))
        return turned, order

    def repeated(self, heads: int) -> "Pattern":
        """Return the pattern of `heads` copies side by side: node v's copy k is row and column `v * heads + k`.

        So K attention heads on N nodes are one head on N * K nodes, and features `(N, K * D)` are `(N * K, D)` as they
        lie in memory.
        """
        if heads == 1:
            return self
        if heads not in self._repeated:
            copies = torch.arange(heads, device=self.device)
            row = (self.row[:, None] * heads + copies).flatten()
            column = (self.column.long()[:, None] * heads + copies).flatten()
            weight = None if self.weight is None else self.weight.repeat_interleave(heads)
            self._repeated[heads] = Pattern.of(row, column, self.rows * heads, self.columns * heads, weight)
        return self._repeated[heads]

    def take(self, rows: Tensor) -> tuple["Pattern", Tensor]:
        """Return the pattern of some rows, in the given order, and the places of its entries in this one.

        Args:
            rows: places `(M,)`; one below 0 gives an empty row.
        """
        lengths = torch.where(rows < 0, 0, self.lengths[rows])
        ends = lengths.cumsum(0)
        first = torch.where(rows < 0, 0, self.start[rows]) - (ends - lengths)
        places = torch.repeat_interleave(first, lengths) + torch.arange(int(lengths.sum()), device=rows.device)
        start = torch.cat([ends.new_zeros(1), ends])
        return Pattern(start, self.column[places], self.columns, _at(self.weight, places)), places

    def keep(self, kept: Tensor) -> "Pattern":
        """Return the pattern of some of the entries, by mask `(E,)`."""
        return Pattern(_starts(self.row[kept], self.rows), self.column[kept], self.columns, _at(self.weight, kept))

    def counts(self) -> Tensor:
        """Return how often each entry counts: its weight, or 1, float32 `(E,)`."""
        return torch.ones(len(self), device=self.device) if self.weight is None else self.weight

    def to(self, device: torch.device | str) -> "Pattern":
        """Return the pattern on a device; itself, with all it has sorted, when it lies there."""
        if self.device == torch.device(device):
            return self
        weight = None if self.weight is None else self.weight.to(device)
        return Pattern(self.start.to(device), self.column.to(device), self.columns, weight)


def _at(weight: Tensor | None, places: Tensor) -> Tensor | None:
    return None if weight is None else weight[places]


@dataclass(frozen=True, eq=False)
class Sparse:
    """A sparse matrix: entry e of `pattern` holds `values[e]`."""

    pattern: Pattern
    values: Tensor

    @classmethod
    def of(cls, dense: Tensor) -> "Sparse":
        """Return a dense matrix's entries other than 0."""
        row, column = dense.nonzero(as_tuple=True)
        return cls(Pattern(_starts(row, len(dense)), column, dense.shape[1]), dense[row, column])

    def __len__(self) -> int:
        return self.pattern.rows

    @property
    def shape(self) -> tuple[int, int]:
        """(R, C)."""
        return self.pattern.rows, self.pattern.columns

    def dense(self) -> Tensor:
        """Return all entries, `(R, C)`."""
        whole = self.values.new_zeros(self.shape)
        whole[self.pattern.row, self.pattern.column.long()] = self.values
        return whole

    def take(self, rows: Tensor) -> "Sparse":
        """Return some rows, in the given order, by places `(M,)`; a place below 0 gives an empty row."""
        pattern, places = self.pattern.take(rows)
        return Sparse(pattern, self.values[places])

    def map(self, function: Callable[[Tensor], Tensor]) -> "Sparse":
        """Return the same pattern with changed values."""
        return Sparse(self.pattern, function(self.values))

    def to(self, device: torch.device | str) -> "Sparse":
        """Return the matrix on a device."""
        pattern = self.pattern.to(device)
        return self if pattern is self.pattern else Sparse(pattern, self.values.to(device))


def take_rows(x: Tensor, rows: Tensor) -> Tensor:
    """Return `x[rows]` for rows that differ; its gradient is written, not summed, which is many times faster."""
    found: Tensor = _Take.apply(x, rows)
    return found


class _Take(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Tensor) -> Tensor:
        ctx.count = len(x)
        ctx.save_for_backward(rows)
        return x.index_select(0, rows)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (rows,) = ctx.saved_tensors
        return gradient.new_zeros(ctx.count, *gradient.shape[1:]).index_copy_(0, rows, gradient), None


def product(pattern: Pattern, values: Tensor, dense: Tensor) -> Tensor:
    """Return the sparse matrix of these values `(E,)` times a dense one `(C, D)`: `(R, D)`, with gradients for both.

    Computed in float32, or float64 where both are.
    """
    wide = torch.promote_types(torch.promote_types(values.dtype, dense.dtype), torch.float32)
    with torch.autocast(dense.device.type, enabled=False):
        found: Tensor = _Product.apply(values.to(wide), dense.to(wide), pattern)
        return found


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, dense: Tensor, pattern: Pattern) -> Tensor:
        ctx.pattern = pattern
        ctx.save_for_backward(values, dense)
        return _multiply(pattern, values, dense)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        values, dense = ctx.saved_tensors
        pattern: Pattern = ctx.pattern
        to_values = to_dense = None
        gradient = gradient.contiguous()
        if ctx.needs_input_grad[0]:
            # Entry (r, c) multiplies row c of `dense` into row r of the product.
            nothing = _csr(pattern, torch.zeros_like(values))
            to_values = torch.sparse.sampled_addmm(nothing, gradient, dense.t().contiguous()).values()
        if ctx.needs_input_grad[1]:
            turned, order = pattern.transposed
            to_dense = _multiply(turned, values[order], gradient)
        return to_values, to_dense, None


def _multiply(pattern: Pattern, values: Tensor, dense: Tensor) -> Tensor:
    if not len(pattern):
        return dense.new_zeros(pattern.rows, dense.shape[1])
    return _csr(pattern, values.detach()) @ dense.detach().contiguous()


def _csr(pattern: Pattern, values: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        warnings.filterwarnings("ignore", message="Sparse invariant checks are implicitly disabled")  # on a GPU
        return torch.sparse_csr_tensor(
            pattern.start, pattern.column, values, (pattern.rows, pattern.columns), check_invariants=False
        )


def _starts(row: Tensor, rows: int) -> Tensor:
    counts = torch.bincount(row.long(), minlength=rows)
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])
