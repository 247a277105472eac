"""Labels as class numbers: whole numbers, names or bytes in, int64 from 0 out, -1 where a sample has none.

| what is given | is read as |
|---|---|
| whole numbers from 0 to 65,535 | the class numbers themselves |
| these and -1 (with a 0 among them) | -1 for samples without a label |
| other whole numbers: -1 and 1, codes of ten digits | classes in sorted order, named by their numbers |
| text or bytes | classes in sorted order; an empty one is none |
| None or NaN beside one of these | samples without a label |

Whatever is not taken as it stands is noted. Text and numbers to be named that are nearly all different are captions or
ids, and no labels.
"""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from withstand.core.errors import DataError, nearest
from withstand.core.files import printable

MOST = 1 << 16
"""Numbers below this are class numbers as they stand; what is as long as their largest is allocated in probes."""
FEW = 20
"""Up to this many different values nobody can tell classes from names, unless no two samples share one."""

Array = npt.NDArray[Any]


class Labels(NamedTuple):
    """Class numbers `(N,)` (None where no sample has a label), the classes' names, and what a user should know."""

    y: Tensor | None
    classes: tuple[str, ...]
    note: str = ""


def read_labels(
    y: object, count: int, classes: Sequence[str] = (), *, beside: Sequence[object] = (), name: str = "y"
) -> Labels:
    """Return labels by the rule in the module's docstring.

    Args:
        y: one label a sample: an array, a tensor or a list.
        count: N, how many samples there are.
        classes: the names of labels 0, 1, ... where they are known: other names, and numbers beyond them, are refused.
        beside: labels of the data's other parts, which are numbered alike.
        name: what to call them in messages.

    Raises:
        DataError: no labels, another number of them than samples, or a value that is not among the classes.
    """
    own, known = _values(y, name)
    if len(own) != count:
        raise DataError(f"{name} holds {len(own)} labels for {count} samples")
    others = [values[there] for values, there in (_values(other, name) for other in beside)]
    every = np.concatenate([own[known], *others]) if others else own[known]
    if not len(every):
        return Labels(None, tuple(classes), f"{name} holds no label")
    if every.dtype == object and len({type(value) for value in every}) > 1:
        raise DataError(f"{name} holds numbers and text: labels are whole numbers or names, one a sample")
    if isinstance(every[0], str):
        named, distinct, note = tuple(classes), np.unique(every).tolist(), ""
        if named:
            _refuse_unknown(distinct, named, name)
        else:
            if _are_captions(distinct, len(every)):
                return _captions(distinct, len(every), name)
            named = tuple(distinct)
        number = {value: place for place, value in enumerate(named)}
        found = [number[value] if there else -1 for value, there in zip(own.tolist(), known.tolist(), strict=True)]
        return _checked(Labels(torch.tensor(found, dtype=torch.int64), named, note), name)
    return _checked(_numbers(own, known, every, tuple(classes), name), name)


def may_be_labels(y: Array) -> bool:
    """Return whether an array has the type and shape of labels."""
    return y.dtype.kind in "biuUSO" and (y.ndim == 1 or (y.ndim == 2 and y.shape[1] == 1))


def _numbers(own: Array, known: Array, every: Array, classes: tuple[str, ...], name: str) -> Labels:
    """Return labels that are whole numbers."""
    low, high = int(every.min()), int(every.max())
    distinct = np.unique(every)
    if classes and not -1 <= low <= high < len(classes):
        wrong = high if high >= len(classes) else low
        raise DataError(f"{name} holds the label {wrong}, but there are {len(classes)} class names")
    # -1 and 1 are two classes; -1 beside 0 is how a sample without a label is marked.
    marked = low == -1 and high < MOST and (bool(classes) or len(distinct) == 1 or distinct[1] == 0)
    if marked or 0 <= low <= high < MOST:
        y = torch.from_numpy(np.where(known, own, -1).astype(np.int64))
        if bool((y[torch.from_numpy(known)] < 0).any()):
            return Labels(y, classes, f"{int((own[known] == -1).sum())} of {len(own)} labels in {name} are -1: none")
        many = len(distinct) > FEW and 2 * len(distinct) > len(every)
        note = f"{name} holds {len(distinct)} different labels for {len(every)} samples: are these ids?" if many else ""
        return Labels(y, classes, note)
    if _are_captions(distinct, len(every)):
        return _captions(distinct.tolist(), len(every), name)
    places = np.searchsorted(distinct, np.where(known, own, distinct[0]))
    y = torch.from_numpy(np.where(known, places, -1).astype(np.int64))
    shown = ", ".join(str(value) for value in distinct[:3]) + (", ..." if len(distinct) > 3 else "")
    note = f"the labels in {name} are not numbered from 0 ({shown}): numbered so, their values name the classes"
    return Labels(y, tuple(map(str, distinct.tolist())), note)


def _values(y: object, name: str) -> tuple[Array, Array]:
    """Return labels as an array of whole numbers or of objects, `(N,)`, and where there is one."""
    if isinstance(y, Tensor):
        if y.is_complex() or y.is_sparse or y.is_quantized:
            raise DataError(f"{name} is a {y.dtype} {y.layout} tensor: labels are whole numbers, one a sample")
        y = y.detach().cpu().numpy()
    if isinstance(y, list | tuple):
        array = np.empty(len(y), dtype=object)
        array[:] = [_plain(value) for value in y]
        y = array
    if not isinstance(y, np.ndarray):
        raise DataError(f"{name} is a {type(y).__name__}: an array, a tensor, a list or a path is needed")
    if not may_be_labels(y):
        hint = ": argmax(1) of one-hot rows gives them" if y.ndim == 2 else ""
        raise DataError(
            f"{name} has shape {y.shape} and type {y.dtype}: labels are whole numbers or names, one a sample{hint}"
        )
    y = y.reshape(-1)
    if y.dtype.kind in "biu":
        beyond = y.dtype.kind == "u" and bool((y > np.iinfo(np.int64).max).any())
        return y.astype(object if beyond else np.int64), np.ones(len(y), dtype=bool)
    values = np.empty(len(y), dtype=object)
    values[:] = [_one(value, name) for value in y.tolist()]
    known = np.array([value is not None for value in values], dtype=bool)
    whole = all(type(value) is int and abs(value) < 1 << 63 for value in values[known])
    return (np.where(known, values, 0).astype(np.int64) if whole and known.any() else values), known


def _plain(value: object) -> object:
    """Return a single number in an array or a tensor as itself."""
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    return value.item() if isinstance(value, np.generic | np.ndarray) and value.size == 1 else value


def _one(value: object, name: str) -> object:
    """Return a whole number, a name, or None for a sample without a label."""
    if value is None or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, str | bytes) and not value:
        return None
    if isinstance(value, bytes):
        return printable(os.fsdecode(value))
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str | int):
        return str(value) if isinstance(value, str) else value
    raise DataError(
        f"{name} holds {value!r}, a {type(value).__name__}: labels are whole numbers or names, one a sample, or None"
    )


def _refuse_unknown(distinct: Sequence[str], classes: tuple[str, ...], name: str) -> None:
    for value in distinct:
        if value not in classes:
            raise DataError(f"{name} holds {value!r}, which is not among the classes: {nearest(value, classes)}")


def _are_captions(distinct: Sequence[object] | Array, count: int) -> bool:
    """Return whether values are too many to be classes."""
    return 1 < count == len(distinct) or (len(distinct) > FEW and 2 * len(distinct) > count)


def _captions(distinct: Sequence[object], count: int, name: str) -> Labels:
    return Labels(
        None,
        (),
        f"{name} holds {len(distinct)} different values in {count} rows, such as {distinct[0]!r}: read as captions or "
        "ids, not as classes (classes= names these)",
    )


def _checked(labels: Labels, name: str) -> Labels:
    if labels.y is not None and not bool((labels.y >= 0).any()):
        return Labels(None, labels.classes, f"{name} holds no label")
    return labels
