"""Short digests of data, and the checks of labels and indices that every source shares."""

from collections.abc import Sequence
from hashlib import blake2b

import torch
from torch import Tensor

from withstand.core.errors import DataError
from withstand.core.roles import Indices, Source

_WHOLE = 64 << 20
"""Bytes up to which all samples are hashed; beyond it, `_SAMPLED` evenly spaced ones are."""
_SAMPLED = 1024


def as_indices(indices: Indices, length: int) -> Tensor:
    """Return indices as int64 `(B,)`.

    Args:
        indices: whole numbers: a list, a tuple, a range, an array or a tensor of one axis.
        length: of the source.

    Raises:
        IndexError: an index outside `range(length)`, or what is no list of whole numbers, as a mask.
    """
    try:
        chosen = torch.as_tensor(indices)
    except (TypeError, ValueError, RuntimeError) as error:
        raise IndexError(f"{type(indices).__name__} is no list of whole numbers: {error}") from None
    if chosen.dtype == torch.bool and chosen.numel():
        raise IndexError(f"a mask of shape {tuple(chosen.shape)} names no samples: give the places where it is true")
    if chosen.ndim != 1 or (len(chosen) and (chosen.is_floating_point() or chosen.is_complex())):
        raise IndexError(f"a source takes one axis of whole numbers, not {chosen.dtype} of shape {tuple(chosen.shape)}")
    chosen = chosen.to("cpu", torch.int64)
    if len(chosen) and not 0 <= int(chosen.min()) <= int(chosen.max()) < length:
        raise IndexError(
            f"indices run from {int(chosen.min())} to {int(chosen.max())}; the source has {length} samples"
        )
    return chosen


def check_labels(y: Tensor, count: int, classes: Sequence[str], *, name: str = "y") -> Tensor:
    """Return labels as int64 `(count,)`, or say what is wrong with them."""
    if y.is_floating_point() or y.is_complex() or y.ndim != 1:
        raise DataError(f"{name} has shape {tuple(y.shape)} and type {y.dtype}: labels are whole numbers, one a sample")
    if len(y) != count:
        raise DataError(f"{name} holds {len(y)} labels for {count} samples")
    y = y.to(torch.int64)
    low, high = int(y.min()), int(y.max())
    if low < 0:
        raise DataError(f"{name} holds the label {low}: labels count from 0")
    if classes and high >= len(classes):
        raise DataError(f"{name} holds the label {high}, but there are {len(classes)} class names")
    return y


def too_many_classes(classes: int, samples: int) -> bool:
    """Return whether so many different values are the samples' own names, not classes: more than one to two samples.

    Up to 20 samples nobody can tell.
    """
    return samples > 20 and 2 * classes > samples


def digest(source: Source, *words: str) -> str:
    """Return a digest of a source's content, however it is stored: samples, labels and class names.

    All samples count up to 64 MB; of larger sources 1,024 evenly spaced samples and the size do.

    Args:
        source: what to read.
        words: whatever else should change the digest.
    """
    size = len(source)
    first = source[[0]].x
    rows = torch.arange(size)
    if size > _SAMPLED and first.nbytes * size > _WHOLE:
        rows = torch.linspace(0, size - 1, _SAMPLED, dtype=torch.float64).round().to(torch.int64)
    state = blake2b(repr((size, source.shape, str(first.dtype), source.classes, words)).encode(), digest_size=16)
    step = max(1, (8 << 20) // max(1, first.nbytes))
    for start in range(0, len(rows), step):
        state.update(_bytes(source[rows[start : start + step]].x))
    if source.labels is not None:
        state.update(_bytes(source.labels))
    return state.hexdigest()


def _bytes(x: Tensor) -> memoryview:
    return x.contiguous().numpy().data.cast("B")
