"""ONNX's operators that move entries, in torch. The first dimension is the batch; no entry may leave its sample.

See `onnx_operators` for what each function is given.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from withstand.core.errors import ConfigError


def _axis(axis: Any, dims: int) -> int:
    """Return an axis counted from the front, which is not the batch's."""
    found = int(axis)
    if not -dims <= found < dims:
        raise ConfigError(f"axis {found} of {dims} dimensions")
    if found % dims == 0:
        raise ConfigError("an operation along the samples of a batch: they have to stay apart")
    return found % dims


def _given(inputs: Sequence[Any], place: int) -> list[int] | None:
    """Return an input of whole numbers, None where it is left out."""
    value = inputs[place] if len(inputs) > place else None
    return None if value is None else [int(one) for one in value.flatten()]


def flatten(attributes: Mapping[str, Any], inputs: Sequence[Any]) -> Tensor:
    """Make each sample a vector."""
    x: Tensor = inputs[0]
    axis = int(attributes.get("axis", 1))
    if (axis + x.dim() if axis < 0 else axis) != 1:
        raise ConfigError(f"a Flatten from axis {axis}, which mixes the samples of a batch: 1 is wanted")
    return x.flatten(1)


def reshape(attributes: Mapping[str, Any], inputs: Sequence[Any]) -> Tensor:
    """Give each sample another shape."""
    x: Tensor = inputs[0]
    wanted = _given(inputs, 1) or []
    if not attributes.get("allowzero", 0):
        if any(side == 0 and place >= x.dim() for place, side in enumerate(wanted)):
            raise ConfigError(f"a Reshape to {wanted} of {x.dim()} dimensions")
        wanted = [x.shape[place] if side == 0 else side for place, side in enumerate(wanted)]
    if wanted and wanted[0] == 1:
        wanted[0] = x.shape[0]  # files made for one sample
    if wanted and wanted[0] == -1 and math.prod(wanted[1:]) == math.prod(x.shape[1:]):
        wanted[0] = x.shape[0]
    return x if wanted == list(x.shape) else x.reshape(wanted)


def squeeze(attributes: Mapping[str, Any], inputs: Sequence[Any]) -> Tensor:
    """Leave out dimensions of one entry."""
    x: Tensor = inputs[0]
    axes = _given(inputs, 1)
    if axes is None:
        raise ConfigError("a Squeeze without axes, which takes a batch of one sample away: export it with axes")
    for axis in sorted({_axis(axis, x.dim()) for axis in axes}, reverse=True):
        if x.shape[axis] != 1:
            raise ConfigError(f"a Squeeze of a dimension of {x.shape[axis]} entries")
        x = x.squeeze(axis)
    return x


def unsqueeze(attributes: Mapping[str, Any], inputs: Sequence[Any]) -> Tensor:
    """Put in dimensions of one entry."""
    x: Tensor = inputs[0]
    axes = _given(inputs, 1) or []
    for axis in sorted(_axis(axis, x.dim() + len(axes)) for axis in axes):
        x = x.unsqueeze(axis)
    return x


def slices(attributes: Mapping[str, Any], inputs: Sequence[Any]) -> Tensor:
    """Take entries at even distances."""
    x: Tensor = inputs[0]
    starts, ends, axes, steps = (_given(inputs, place) for place in (1, 2, 3, 4))
    if starts is None or ends is None:
        raise ConfigError("a Slice without starts and ends")
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps) or len({axis % x.dim() for axis in axes}) < len(axes):
        raise ConfigError(f"a Slice with starts {starts}, ends {ends}, axes {axes} and steps {steps}")
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if axis % x.dim() == 0 and -x.dim() <= axis and start == 0 and step == 1 and end > 1 << 30:
            continue  # all samples
        place = _axis(axis, x.dim())
        if step < 1:
            raise ConfigError(f"a Slice with step {step}: only positive ones can be read")
        x = x[(*[slice(None)] * place, slice(start, end, step))]
    return x


def split(attributes: Mapping[str, Any], inputs: Sequence[Any]) -> list[Tensor]:
    """Cut each sample into parts along an axis."""
    x: Tensor = inputs[0]
    axis = _axis(attributes.get("axis", 0), x.dim())
    sizes, count = _given(inputs, 1), attributes.get("num_outputs")
    if sizes is None:
        if count is None or count < 1:
            raise ConfigError("a Split that says neither how many parts nor how large")
        each = -(-x.shape[axis] // int(count))  # the last part is what is left
        sizes = [each] * (int(count) - 1) + [x.shape[axis] - each * (int(count) - 1)]
    if min(sizes, default=-1) < 0 or sum(sizes) != x.shape[axis]:
        raise ConfigError(f"a Split of {x.shape[axis]} entries into {sizes}")
    ends = np.cumsum(sizes).tolist()
    return [x.narrow(axis, end - size, size) for size, end in zip(sizes, ends, strict=True)]


def gather(attributes: Mapping[str, Any], inputs: Sequence[Any]) -> Tensor:
    """Take entries at given places."""
    x: Tensor = inputs[0]
    index: npt.NDArray[Any] = inputs[1]
    axis = _axis(attributes.get("axis", 0), x.dim())
    size = x.shape[axis]
    if index.size and not (-size <= index.min() and index.max() < size):
        raise ConfigError(f"a Gather at places {index.min()} to {index.max()} of {size}")
    if index.ndim == 0:
        return x.select(axis, int(index))
    places = torch.from_numpy(np.where(index < 0, index + size, index).astype(np.int64)).to(x.device)
    found = x.index_select(axis, places.flatten())
    return found.reshape(*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])


def expand(attributes: Mapping[str, Any], inputs: Sequence[Any]) -> Tensor:
    """Repeat dimensions of one entry; files made for one sample have a 1 for the batch."""
    x: Tensor = inputs[0]
    wanted = _given(inputs, 1) or []
    if len(wanted) > x.dim() or (len(wanted) == x.dim() and wanted[0] not in (1, len(x))):
        raise ConfigError(f"an Expand to {wanted} of {x.dim()} dimensions, which repeats the samples of a batch")
    wanted = [*x.shape[: x.dim() - len(wanted)], *wanted]
    wanted[0] = len(x)
    return x.expand([side if mine == 1 else mine for mine, side in zip(x.shape, wanted, strict=True)])


def tile(attributes: Mapping[str, Any], inputs: Sequence[Any]) -> Tensor:
    """Put copies of each sample side by side."""
    x: Tensor = inputs[0]
    times = _given(inputs, 1) or []
    if len(times) != x.dim() or times[0] != 1:
        raise ConfigError(f"a Tile by {times} of {x.dim()} dimensions, which repeats the samples of a batch")
    return x.repeat(times)


def trilu(attributes: Mapping[str, Any], inputs: Sequence[Any]) -> Tensor:
    """Keep one triangle of each matrix."""
    x: Tensor = inputs[0]
    if x.dim() < 3:
        raise ConfigError("a Trilu over the samples of a batch")
    offset = (_given(inputs, 1) or [0])[0]
    return x.triu(offset) if attributes.get("upper", 1) else x.tril(offset)


def concat(attributes: Mapping[str, Any], inputs: Sequence[Any]) -> Tensor:
    """Put samples' parts side by side; what is the same for all samples joins each."""
    axis = _axis(attributes["axis"], inputs[0].dim())
    batch = max(len(part) for part in inputs)
    return torch.cat([part.expand(batch, *part.shape[1:]) for part in inputs], axis)


def pad(attributes: Mapping[str, Any], inputs: Sequence[Any]) -> Tensor:
    """Put zeros round each sample, or cut its borders off."""
    x: Tensor = inputs[0]
    pads, axes = _given(inputs, 1) or [], _given(inputs, 3)
    value = inputs[2].item() if len(inputs) > 2 and inputs[2] is not None else 0
    if value != 0:
        raise ConfigError(f"a Pad with the value {value:g}: only zeros can be read")
    axes = list(range(x.dim())) if axes is None else axes
    half = len(axes)
    if len(pads) != 2 * half or len({axis % x.dim() for axis in axes}) < half:
        raise ConfigError(f"a Pad with pads {pads} on axes {axes} of {x.dim()} dimensions")
    around = [0] * 2 * x.dim()
    for place, axis in enumerate(axes):
        before, after = pads[place], pads[place + half]
        if before or after:
            back = x.dim() - 1 - _axis(axis, x.dim())
            around[2 * back : 2 * back + 2] = before, after
    return F.pad(x, around[: 2 * (x.dim() - 1)])


def transpose(attributes: Mapping[str, Any], inputs: Sequence[Any]) -> Tensor:
    """Put each sample's dimensions in another order."""
    x: Tensor = inputs[0]
    order = [int(axis) for axis in attributes.get("perm", list(range(x.dim()))[::-1])]
    if order[:1] != [0] or sorted(order) != list(range(x.dim())):
        raise ConfigError(f"a Transpose to the order {order}, which moves the batch: 0 has to stay first")
    return x.permute(*order)


def shape(attributes: Mapping[str, Any], inputs: Sequence[Any]) -> npt.NDArray[np.int64]:
    """Return the sizes of the dimensions, or of some in a row."""
    sides = list(inputs[0].shape)
    return np.array(sides[attributes.get("start", 0) : attributes.get("end", len(sides))], dtype=np.int64)
