"""What each ONNX operator is in torch. Each function takes the node's attributes and its inputs.

Inputs are tensors, plain arrays where the value is known (shapes, axes), or None where an optional one is left out.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from withstand.core.errors import ConfigError, nearest

Value: TypeAlias = "Tensor | npt.NDArray[Any] | None"
Attributes: TypeAlias = Mapping[str, Any]
Operator: TypeAlias = Callable[[Attributes, Sequence[Any]], Any]


def _integers(name: str, place: int, attributes: Attributes, inputs: Sequence[Value]) -> list[int] | None:
    """Return a list of numbers that older opsets hold in an attribute, newer ones in an input."""
    if name in attributes:
        return [int(value) for value in np.atleast_1d(attributes[name])]
    given = inputs[place] if len(inputs) > place else None
    if given is None:
        return None
    if isinstance(given, Tensor):
        raise ConfigError(f"the ONNX file computes {name} from the network's input: only fixed ones can be read")
    return [int(value) for value in np.atleast_1d(given)]


def _gemm(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    x, weight = inputs[0], inputs[1]
    if attributes.get("transA", 0):
        raise ConfigError("the ONNX file uses Gemm with transA, which mixes the samples of a batch")
    weight = weight * attributes.get("alpha", 1.0)
    bias = inputs[2] * attributes.get("beta", 1.0) if len(inputs) > 2 and inputs[2] is not None else None
    if bias is not None:
        bias = bias.reshape(-1)
    return F.linear(x, weight if attributes.get("transB", 0) else weight.T, bias)


def _padding(attributes: Attributes, kind: str) -> tuple[tuple[int, int], tuple[int, int, int, int] | None]:
    """Return symmetric padding, or none and the (left, right, top, bottom) to pad with before."""
    mode = attributes.get("auto_pad", "NOTSET")
    if mode not in ("NOTSET", "VALID"):
        raise ConfigError(f"the ONNX file uses {kind} with auto_pad {mode}: export it with explicit pads")
    pads = list(attributes.get("pads", [0, 0, 0, 0])) if mode == "NOTSET" else [0, 0, 0, 0]
    if len(pads) != 4:
        raise ConfigError(f"the ONNX file uses {kind} in {len(pads) // 2} dimensions: only 2 can be read")
    top, left, bottom, right = (int(pad) for pad in pads)
    if (top, left) == (bottom, right):
        return (top, left), None
    return (0, 0), (left, right, top, bottom)


def _conv(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    x, weight = inputs[0], inputs[1]
    if weight.dim() != 4:
        raise ConfigError(f"the ONNX file uses Conv in {weight.dim() - 2} dimensions: only 2 can be read")
    padding, before = _padding(attributes, "Conv")
    if before is not None:
        x = F.pad(x, before)
    bias = inputs[2] if len(inputs) > 2 else None
    strides, dilations = (tuple(attributes.get(name, [1, 1])) for name in ("strides", "dilations"))
    return F.conv2d(x, weight, bias, strides, padding, dilations, int(attributes.get("group", 1)))


def _batch_norm(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    x, weight, bias, mean, variance = inputs[:5]
    return F.batch_norm(x, mean, variance, weight, bias, False, 0.0, float(attributes.get("epsilon", 1e-5)))


def _max_pool(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    padding, before = _padding(attributes, "MaxPool")
    if before is not None:
        raise ConfigError("the ONNX file uses MaxPool with uneven pads: only even ones can be read")
    kernel = tuple(attributes["kernel_shape"])
    strides, dilations = (tuple(attributes.get(name, [1, 1])) for name in ("strides", "dilations"))
    return F.max_pool2d(inputs[0], kernel, strides, padding, dilations, bool(attributes.get("ceil_mode", 0)))


def _average_pool(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    padding, before = _padding(attributes, "AveragePool")
    counted = bool(attributes.get("count_include_pad", 0))
    x = inputs[0]
    if before is not None:
        if not counted:
            raise ConfigError("the ONNX file uses AveragePool with uneven pads: only even ones can be read")
        x = F.pad(x, before)
    kernel, strides = tuple(attributes["kernel_shape"]), tuple(attributes.get("strides", [1, 1]))
    return F.avg_pool2d(x, kernel, strides, padding, bool(attributes.get("ceil_mode", 0)), counted)


def _reshape(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    x = inputs[0]
    shape = _integers("shape", 1, attributes, inputs) or []
    if not attributes.get("allowzero", 0):
        shape = [x.shape[place] if side == 0 else side for place, side in enumerate(shape)]
    if shape and shape[0] == 1:
        shape[0] = x.shape[0]  # files made for one sample
    found: Tensor = x.reshape(shape)
    return found


def _squeeze(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    x = inputs[0]
    axes = _integers("axes", 1, attributes, inputs)
    if axes is None:
        axes = [place for place in range(1, x.dim()) if x.shape[place] == 1]
    for axis in sorted((axis % x.dim() for axis in axes), reverse=True):
        if axis == 0:
            raise ConfigError("the ONNX file takes the batch dimension away: samples must stay apart")
        x = x.squeeze(axis)
    return x  # type: ignore[no-any-return]


def _unsqueeze(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    x = inputs[0]
    axes = _integers("axes", 1, attributes, inputs) or []
    for axis in sorted(axis % (x.dim() + len(axes)) for axis in axes):
        x = x.unsqueeze(axis)
    return x  # type: ignore[no-any-return]


def _slice(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    x = inputs[0]
    starts, ends, axes, steps = (
        _integers(name, place, attributes, inputs) for place, name in enumerate(("starts", "ends", "axes", "steps"), 1)
    )
    if starts is None or ends is None:
        raise ConfigError("the ONNX file has a Slice without starts and ends")
    axes = axes or list(range(len(starts)))
    for start, end, axis, step in zip(starts, ends, axes, steps or [1] * len(starts), strict=True):
        if step < 1:
            raise ConfigError(f"the ONNX file has a Slice with step {step}: only positive ones can be read")
        x = x[(*[slice(None)] * (axis % x.dim()), slice(start, end, step))]
    return x  # type: ignore[no-any-return]


def _gather(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    x, index = inputs[0], inputs[1]
    if isinstance(index, Tensor):
        raise ConfigError("the ONNX file gathers by indices that it computes: only fixed ones can be read")
    axis = int(attributes.get("axis", 0)) % x.dim()
    if index.ndim == 0:
        chosen: Tensor = x.select(axis, int(index))
        return chosen
    if index.ndim != 1:
        raise ConfigError("the ONNX file gathers by a table of indices: only a list of them can be read")
    return x.index_select(axis, torch.from_numpy(index % x.shape[axis]))  # type: ignore[no-any-return]


def _pad(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    x = inputs[0]
    mode, pads = attributes.get("mode", "constant"), _integers("pads", 1, attributes, inputs) or []
    value = inputs[2] if len(inputs) > 2 and inputs[2] is not None else attributes.get("value", 0.0)
    if mode != "constant" or float(value) != 0:
        raise ConfigError(f"the ONNX file pads with mode {mode} and value {float(value):g}: only zeros can be read")
    half = len(pads) // 2
    around = [side for place in reversed(range(half)) for side in (pads[place], pads[place + half])]
    return F.pad(x, around)


def _reduce(mean: bool) -> Operator:
    def run(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
        x, keep = inputs[0], bool(attributes.get("keepdims", 1))
        axes = _integers("axes", 1, attributes, inputs) or list(range(1, x.dim()))
        return x.mean(axes, keepdim=keep) if mean else x.sum(axes, keepdim=keep)  # type: ignore[no-any-return]

    return run


def _clip(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    bounds = [
        inputs[place] if len(inputs) > place and inputs[place] is not None else attributes.get(name)
        for place, name in ((1, "min"), (2, "max"))
    ]
    low, high = (None if bound is None else float(bound) for bound in bounds)
    return torch.clamp(inputs[0], min=low, max=high if high is None or high < 3.4e38 else None)


def _flatten(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    axis = int(attributes.get("axis", 1)) % inputs[0].dim()
    if axis != 1:
        raise ConfigError(f"the ONNX file flattens from axis {axis}, which mixes the samples of a batch")
    return inputs[0].flatten(1)  # type: ignore[no-any-return]


def _softmax(function: Callable[..., Tensor]) -> Operator:
    return lambda attributes, inputs: function(inputs[0], dim=int(attributes.get("axis", -1)))


def _same(attributes: Attributes, inputs: Sequence[Any]) -> Any:
    return inputs[0]


def _transpose(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    order = attributes.get("perm", range(inputs[0].dim())[::-1])
    return inputs[0].permute(*order)  # type: ignore[no-any-return]


OPERATORS: dict[str, Operator] = {
    "Add": lambda attributes, inputs: inputs[0] + inputs[1],
    "Sub": lambda attributes, inputs: inputs[0] - inputs[1],
    "Mul": lambda attributes, inputs: inputs[0] * inputs[1],
    "Div": lambda attributes, inputs: inputs[0] / inputs[1],
    "Neg": lambda attributes, inputs: -inputs[0],
    "Sum": lambda attributes, inputs: sum(inputs[1:], inputs[0]),
    "MatMul": lambda attributes, inputs: inputs[0] @ inputs[1],
    "Gemm": _gemm,
    "Conv": _conv,
    "BatchNormalization": _batch_norm,
    "Relu": lambda attributes, inputs: F.relu(inputs[0]),
    "LeakyRelu": lambda attributes, inputs: F.leaky_relu(inputs[0], float(attributes.get("alpha", 0.01))),
    "Sigmoid": lambda attributes, inputs: inputs[0].sigmoid(),
    "Tanh": lambda attributes, inputs: inputs[0].tanh(),
    "Clip": _clip,
    "Softmax": _softmax(F.softmax),
    "LogSoftmax": _softmax(F.log_softmax),
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": lambda attributes, inputs: inputs[0].mean((2, 3), keepdim=True),
    "ReduceMean": _reduce(True),
    "ReduceSum": _reduce(False),
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Slice": _slice,
    "Gather": _gather,
    "Concat": lambda attributes, inputs: torch.cat(list(inputs), int(attributes["axis"])),
    "Pad": _pad,
    "Identity": _same,
    "Dropout": _same,
    "Cast": _same,
    "Shape": lambda attributes, inputs: np.array(inputs[0].shape, dtype=np.int64),
}
"""By name. `Cast` meets floats only: what is cast to whole numbers is a shape, and known."""


def operator(name: str) -> Operator:
    """Return what an operator does.

    Raises:
        ConfigError: one that cannot be read, with the nearest that can.
    """
    if name not in OPERATORS:
        hint = nearest(name, OPERATORS)
        raise ConfigError(f"the ONNX file uses {name}, which cannot be read here: {hint}")
    return OPERATORS[name]
