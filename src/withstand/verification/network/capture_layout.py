"""Where the samples of a batch lie in a traced value: mostly along its first dimension, in attention also elsewhere.

A value whose samples lie elsewhere is followed as one of single samples, with a dimension of 1 (or of what shares the
dimension with the batch) in the batch's stead. Sizes: `B` samples of the trace.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from withstand.core.errors import ConfigError, DataError


@dataclass(frozen=True)
class Layout:
    """Where samples lie: entry i of dimension `dim`, of `outer * B * inner`, belongs to sample `(i // inner) % B`.

    Attributes:
        dim: the dimension.
        outer: what of it changes more slowly than the sample.
        inner: what changes faster.
    """

    dim: int = 0
    outer: int = 1
    inner: int = 1


FIRST = Layout()
"""Samples along the first dimension, which a sample's own shape leaves out."""


def layouts(shape: Sequence[int], batch: int) -> Iterator[Layout]:
    """Give all layouts that a value of a shape may have."""
    for dim, size in enumerate(shape):
        if size and size % batch == 0:
            rest = size // batch
            yield from (Layout(dim, rest // inner, inner) for inner in range(1, rest + 1) if rest % inner == 0)


def apart(values: Tensor, layout: Layout, batch: int) -> Tensor:
    """Return values with samples in front, `(B, *shape)`, the shape with `outer * inner` at the layout's place."""
    dim, before, after = layout.dim, values.shape[: layout.dim], values.shape[layout.dim + 1 :]
    split = values.reshape(*before, layout.outer, batch, layout.inner, *after).movedim(dim + 1, 0)
    return split.reshape(batch, *before, layout.outer * layout.inner, *after)


def together(values: Tensor, layout: Layout) -> Tensor:
    """Return values whose samples are in front as the trace has them; the inverse of `apart`."""
    dim, batch = layout.dim, len(values)
    before, after = values.shape[1 : dim + 1], values.shape[dim + 2 :]
    split = values.reshape(batch, *before, layout.outer, layout.inner, *after).movedim(0, dim + 1)
    return split.reshape(*before, layout.outer * batch * layout.inner, *after)


def shape_of(full: Sequence[int], layout: Layout) -> tuple[int, ...]:
    """Return one sample's shape of a value that the trace has in some shape."""
    if layout == FIRST:
        return tuple(full[1:])
    return (*full[: layout.dim], layout.outer * layout.inner, *full[layout.dim + 1 :])


def source_of(marks: Tensor, batch: int, size: int) -> tuple[Layout, Tensor]:
    """Tell where samples lie after entries were moved, and which of a sample's entries each place holds.

    Args:
        marks: 1 and the number of the entry, sample after sample, moved; 0 where there is a zero now.
        batch: B.
        size: entries of one sample before.

    Returns:
        The layout, and a sample's places in its shape; -1 for zeros.

    Raises:
        DataError: samples are mixed.
    """
    samples = torch.arange(batch)
    for layout in layouts(marks.shape, batch):
        rows = apart(marks, layout, batch).long()
        places = torch.where(rows > 0, rows - 1 - (samples * size).view(-1, *[1] * (rows.dim() - 1)), -1)
        if bool(((places >= -1) & (places < size)).all()) and bool((places == places[0]).all()):
            return layout, places[0, 0] if layout == FIRST else places[0]
    raise DataError("a reshape or slice mixes the samples of a batch: certificates need each sample on its own")


_OF_DIMS = {
    **dict.fromkeys(("mean", "sum", "amax", "amin", "cat", "_softmax", "_log_softmax", "_safe_softmax"), 1),
    **dict.fromkeys(("max", "min", "logsumexp", "glu", "var", "std"), 1),
    "linalg_vector_norm": 2,
}
"""Operations along dimensions, and which of their arguments says which."""
_DEFAULTS = {"cat": 0, "glu": -1}
"""What stands for a dimension that is left out; in all other operations all dimensions do."""
_MATRICES = {"addmm", "mm", "bmm", "baddbmm"}
"""Products of matrices; samples may lie along whatever is no sum."""


@dataclass(frozen=True)
class Aside:
    """One step on values whose samples lie elsewhere, as the same step on single samples.

    Attributes:
        name: the operation.
        batch: B.
        full: the outcome's shape in the trace.
        ranks: of each value that hangs on the input, with its layout, the number of dimensions in the trace.
        alone: of a product of two matrices, which of them alone hangs on the input, 0 or 1; None for both.
    """

    name: str
    batch: int
    full: tuple[int, ...]
    ranks: tuple[tuple[Layout, int], ...]
    alone: int | None = None

    @property
    def _rank(self) -> int:
        return max(rank for _, rank in self.ranks)

    @property
    def _layout(self) -> Layout:
        """The common layout, in as many dimensions as the values have at most.

        Raises:
            ConfigError: there is none.
        """
        found = {Layout(layout.dim - rank, layout.outer, layout.inner) for layout, rank in self.ranks}
        if len(found) > 1:
            raise ConfigError(
                f"a {self.name} of values whose samples lie in different dimensions: certificates need each sample on "
                "its own"
            )
        (one,) = found
        return Layout(one.dim + self._rank, one.outer, one.inner)

    def outcome(self, elementwise: bool, dims: Sequence[int], keep: bool) -> Layout:
        """Return the outcome's layout.

        Raises:
            ConfigError: samples may be mixed, or nobody knows.
        """
        layout = self._layout
        beside = {0: {0, 1}, 1: {0, 2}, None: {0}}[self.alone] if self.name == "bmm" else {0}
        mixes = self.name in _MATRICES and layout.dim not in beside
        if layout.dim in dims:
            raise DataError(f"a {self.name} mixes the samples of a batch: certificates need each sample on its own")
        if mixes or not (elementwise or self.name in _OF_DIMS or self.name in _MATRICES):
            raise ConfigError(
                f"a {self.name} of values whose samples lie in dimension {layout.dim}: there it has no bounds, put the "
                "batch first"
            )
        gone = 0 if keep or self.name == "cat" else sum(dim < layout.dim for dim in dims)
        lost = self._rank - len(self.full) if not elementwise else 0
        dim = layout.dim - (gone if lost else 0) + (len(self.full) - self._rank if elementwise else 0)
        return Layout(dim, layout.outer, layout.inner)

    def dims(self, arguments: Sequence[Any]) -> tuple[int, ...]:
        """Return the dimensions that the step goes along, counted from the front."""
        place, rank = _OF_DIMS.get(self.name), self._rank
        if self.name == "native_layer_norm":
            return tuple(range(rank - len(arguments[1]), rank))
        if place is None:
            return ()
        given = arguments[place] if len(arguments) > place else _DEFAULTS.get(self.name)
        if given is None or given == []:
            return tuple(range(rank))
        return tuple(int(dim) % rank for dim in (given if isinstance(given, list | tuple) else [given]))

    def single(self, arguments: Sequence[Any], dims: Sequence[int]) -> list[Any]:
        """Return arguments with dimensions that count from the sample's own."""
        place = _OF_DIMS.get(self.name)
        found = list(arguments)
        if place is not None:
            one = len(found) <= place or not isinstance(found[place], list | tuple)
            found[place : place + 1] = [dims[0] + 1 if one else [dim + 1 for dim in dims]]
        return found

    def constant(self, value: Tensor) -> Tensor:
        """Return a constant with samples in front, `(B or 1, *shape)`, where it has the dimension they lie in."""
        layout = self._layout
        if value.dim() < self._rank - layout.dim or self.name in ("addmm", "mm"):
            return value
        if self.name == "bmm" and layout.dim != 0:
            return value[None]
        whole = value.reshape(*[1] * (self._rank - value.dim()), *value.shape)
        if whole.shape[layout.dim] == 1:
            return whole[None]
        return apart(whole, layout, self.batch)
