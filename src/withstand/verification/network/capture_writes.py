"""Writing into parts of a tensor: what tracing makes of changes in place, as entries taken from two sources."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from withstand.core.errors import DataError
from withstand.verification.bounds.receptive_field import Shape, rows_of
from withstand.verification.network.capture_graph import Builder, Place
from withstand.verification.network.capture_rules import constant_of, unsupported
from withstand.verification.network.operation import Concat, Rearrange

WRITES = {"fill", "copy", "select_scatter", "slice_scatter", "diagonal_scatter", "index_put"}
"""Operations that give a whole tensor with all entries, or some, replaced."""


def write(
    builder: Builder, name: str, target: Callable[..., Tensor], arguments: Sequence[Any], shape: Shape, batch: int
) -> Place:
    """Append one of `WRITES` and return its place.

    Args:
        builder: the network so far.
        name: of the operation.
        target: what runs it.
        arguments: its own, places and constants mixed.
        shape: of one sample of the outcome.
        batch: samples of the trace.

    Raises:
        ConfigError: a place that hangs on the input, or a sum into places.
        DataError: samples of a batch are mixed.
    """
    if name == "fill":
        return builder.constant(constant_of(arguments[1], shape), shape)
    if name == "copy":
        return _whole(builder, arguments[1], shape)
    at = 2 if name == "index_put" else 1
    rest = [value for index, value in enumerate(arguments) if index not in (0, at)]
    if name == "index_put" and (any(isinstance(index, Place) for index in rest[0]) or any(rest[1:])):
        raise unsupported("index_put at places that hang on the input, or that adds up")

    def run(into: Tensor, values: Tensor) -> Tensor:
        return target(into, *rest[: at - 1], values, *rest[at - 1 :])

    base, given = _whole(builder, arguments[0], shape), arguments[at]
    if not isinstance(given, Place):
        if name == "index_put":
            index = tuple(slice(None) if one is None else one for one in rest[0])
            given = given.expand(torch.zeros(batch, *shape)[index].shape)
        given = builder.constant(constant_of(given, tuple(given.shape[1:])), tuple(given.shape[1:]))
    wide, narrow = math.prod(shape), math.prod(builder.shape(given))
    into = torch.arange(batch * wide, dtype=torch.float64).view(batch, *shape)
    values = torch.arange(batch * narrow, dtype=torch.float64).view(batch, *builder.shape(given))
    found = rows_of(run(into, values + batch * wide).long())
    fresh = found >= batch * wide
    sample = torch.where(fresh, (found - batch * wide) // max(1, narrow), found // max(1, wide))
    places = torch.where(fresh, wide + (found - batch * wide) % max(1, narrow), found % max(1, wide))
    if not bool((sample == torch.arange(batch)[:, None]).all()) or not bool((places == places[0]).all()):
        raise DataError("writing in place mixes the samples of a batch: certificates need each sample on its own")
    flat = [builder.add(Rearrange(shape=(size,)), place) for size, place in ((wide, base), (narrow, given))]
    both = builder.add(Concat(dim=0), *flat)
    return builder.add(Rearrange(shape=shape, places=places[0].view(shape)), both)


def _whole(builder: Builder, value: Any, shape: Shape) -> Place:
    """Return a value, broadcast to one sample's shape, as a place."""
    if not isinstance(value, Place):
        return builder.constant(constant_of(value, shape), shape)
    before = builder.shape(value)
    if before == shape:
        return value
    if len(before) != len(shape):
        raise DataError("writing in place mixes the samples of a batch: certificates need each sample on its own")
    places = torch.arange(math.prod(before)).view(before).expand(shape)
    return builder.add(Rearrange(shape=shape, places=places.contiguous()), value)
