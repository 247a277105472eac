"""Which ONNX operators are read, in which forms, and what each is in torch.

An operator that is not in the table, an attribute that its entry does not name, a value that the entry does not allow,
an input or output beyond those it counts: each is refused by name, so that no file is read as another function.
Meanings are those of one opset, `onnx_file.OPSET`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from withstand.core.errors import ConfigError
from withstand.verification.exchange import onnx_bends as bends
from withstand.verification.exchange import onnx_rearrange as moves
from withstand.verification.exchange import onnx_windows as windows

Value: TypeAlias = "Tensor | npt.NDArray[Any] | None"
Attributes: TypeAlias = Mapping[str, Any]
Operator: TypeAlias = Callable[[Attributes, Sequence[Any]], Any]
"""Takes a node's attributes and inputs: tensors, arrays at the places that `numbers` names, None for one left out."""

ANY: tuple[Any, ...] = ()
"""The operator's function reads whatever value the attribute has."""


@dataclass(frozen=True)
class Readable:
    """One operator that is read.

    Attributes:
        run: what it is in torch; returns one tensor, or a list where there may be several outputs.
        inputs: the least and the most inputs; None for any number.
        numbers: places of inputs that have to be known numbers: shapes, axes, limits.
        attributes: those that may be given, each with the values it may have (of each entry, for a list), or `ANY`.
        several: whether more outputs than the first may be used.
        known: whether the outputs are known numbers, from the inputs' shapes.
    """

    run: Operator
    inputs: tuple[int, int | None] = (1, 1)
    numbers: tuple[int, ...] = ()
    attributes: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    several: bool = False
    known: bool = False


def _gemm(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    x, weight = inputs[0], inputs[1]
    if not isinstance(weight, Tensor) or x.dim() != 2:
        raise ConfigError(f"a Gemm of {x.dim()} dimensions: 2 are wanted")
    weight = weight if attributes.get("transB", 0) else weight.T
    alpha, beta = (bends.number(attributes, name, 1.0) for name in ("alpha", "beta"))
    found = F.linear(x, weight)
    # Weights stay the file's own: a product with them would be rounded.
    found = found if alpha == 1 else found * alpha
    if len(inputs) < 3 or inputs[2] is None:
        return found
    bias = inputs[2]
    if bias.dim() > 1 and bias.shape[0] != 1:
        raise ConfigError("a Gemm adds something else to each sample of a batch")
    return torch.add(found, bias.expand(1, found.shape[1])[0], alpha=beta)


def _batch_norm(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    x, weight, bias, mean, variance = inputs
    return F.batch_norm(x, mean, variance, weight, bias, False, 0.0, bends.number(attributes, "epsilon", 1e-5))


def _over_axes(name: str, function: Callable[..., Tensor]) -> Readable:
    def run(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
        x: Tensor = inputs[0]
        keep = bool(attributes.get("keepdims", 1))
        given = inputs[1] if len(inputs) > 1 else None
        if given is None or not given.size:
            if attributes.get("noop_with_empty_axes", 0):
                return x
            raise ConfigError(f"a {name} over all axes, the batch among them: export it with the axes named")
        axes = sorted(int(axis) % x.dim() for axis in given.flatten())
        if axes[0] == 0:
            raise ConfigError(f"a {name} over the samples of a batch")
        return function(x, axes, keepdim=keep)

    allowed = {"keepdims": (0, 1), "noop_with_empty_axes": (0, 1)}
    return Readable(run, (1, 2), numbers=(1,), attributes=allowed)


def _softmax(function: Callable[..., Tensor]) -> Operator:
    def run(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
        axis = int(attributes.get("axis", -1)) % inputs[0].dim()
        if axis == 0:
            raise ConfigError("a softmax over the samples of a batch")
        return function(inputs[0], dim=axis)

    return run


def _cast(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    from onnx import helper

    x: Tensor = inputs[0]
    kind = helper.tensor_dtype_to_np_dtype(attributes["to"])
    wanted = {np.float16: torch.float16, np.float32: torch.float32, np.float64: torch.float64}.get(kind.type)
    # In a wider type a number is what it was; in a narrower one, or in whole numbers, it is another.
    if wanted is None or torch.promote_types(x.dtype, wanted) != wanted:
        raise ConfigError(f"a Cast of {str(x.dtype).removeprefix('torch.')} to {kind}, which rounds")
    return x.to(wanted) if wanted != x.dtype else x


def _dropout(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    if len(inputs) > 2 and inputs[2] is not None and bool(inputs[2].any()):
        raise ConfigError("a Dropout in training mode, which draws at random")
    found: Tensor = inputs[0]
    return found


def _entrywise(function: Callable[[Tensor], Tensor]) -> Readable:
    return Readable(lambda attributes, inputs: function(inputs[0]))


def _of_two(function: Callable[[Any, Any], Any]) -> Readable:
    return Readable(lambda attributes, inputs: function(inputs[0], inputs[1]), (2, 2))


_WINDOW = {"auto_pad": ("NOTSET", "VALID"), "pads": ANY, "strides": ANY, "kernel_shape": ANY}

OPERATORS: dict[str, Readable] = {
    "Add": _of_two(lambda first, second: first + second),
    "Sub": _of_two(lambda first, second: first - second),
    "Mul": _of_two(lambda first, second: first * second),
    "Div": _of_two(lambda first, second: first / second),
    "Sum": Readable(bends.of_several(torch.add), (1, None)),
    "Mean": Readable(lambda attributes, inputs: bends.of_several(torch.add)({}, inputs) / len(inputs), (1, None)),
    "MatMul": _of_two(lambda first, second: first @ second),
    "Gemm": Readable(_gemm, (2, 3), attributes={"alpha": ANY, "beta": ANY, "transA": (0,), "transB": (0, 1)}),
    "Conv": Readable(windows.conv, (2, 3), attributes={**_WINDOW, "dilations": ANY, "group": ANY}),
    "ConvTranspose": Readable(
        windows.conv_transpose, (2, 3), attributes={**_WINDOW, "dilations": ANY, "group": ANY, "output_padding": ANY}
    ),
    "BatchNormalization": Readable(
        _batch_norm, (5, 5), attributes={"epsilon": ANY, "momentum": ANY, "training_mode": (0,)}
    ),
    "Neg": _entrywise(torch.neg),
    "Relu": _entrywise(F.relu),
    "LeakyRelu": Readable(bends.leaky_relu, attributes={"alpha": ANY}),
    "PRelu": Readable(bends.prelu, (2, 2)),
    "Abs": _entrywise(torch.abs),
    "Max": Readable(bends.of_several(torch.maximum), (1, None)),
    "Min": Readable(bends.of_several(torch.minimum), (1, None)),
    "Elu": Readable(bends.elu, attributes={"alpha": ANY}),
    "Selu": Readable(bends.selu, attributes={"alpha": ANY, "gamma": ANY}),
    "Celu": Readable(bends.celu, attributes={"alpha": ANY}),
    "Gelu": Readable(bends.gelu, attributes={"approximate": ("none", "tanh")}),
    "HardSigmoid": Readable(bends.hard_sigmoid, attributes={"alpha": ANY, "beta": ANY}),
    "HardSwish": _entrywise(F.hardswish),
    "Mish": _entrywise(F.mish),
    "Softplus": _entrywise(lambda x: -F.logsigmoid(-x)),
    "Softsign": _entrywise(F.softsign),
    "Erf": _entrywise(torch.erf),
    "Exp": _entrywise(torch.exp),
    "Log": _entrywise(torch.log),
    "Sqrt": _entrywise(torch.sqrt),
    "Reciprocal": _entrywise(torch.reciprocal),
    "Pow": Readable(bends.power, (2, 2), numbers=(1,)),
    "Where": Readable(bends.where, (3, 3), numbers=(0,)),
    "Sigmoid": _entrywise(torch.sigmoid),
    "Tanh": _entrywise(torch.tanh),
    "Clip": Readable(bends.clip, (1, 3), numbers=(1, 2)),
    "Softmax": Readable(_softmax(F.softmax), attributes={"axis": ANY}),
    "LogSoftmax": Readable(_softmax(F.log_softmax), attributes={"axis": ANY}),
    "MaxPool": Readable(
        windows.max_pool,
        attributes={**_WINDOW, "dilations": ANY, "ceil_mode": (0, 1), "storage_order": (0,)},
    ),
    "AveragePool": Readable(
        windows.average_pool,
        attributes={**_WINDOW, "dilations": (1,), "ceil_mode": (0, 1), "count_include_pad": (0, 1)},
    ),
    "GlobalAveragePool": Readable(windows.global_average_pool),
    "GlobalMaxPool": Readable(windows.global_max_pool),
    "ReduceMean": _over_axes("mean", torch.mean),
    "ReduceSum": _over_axes("sum", torch.sum),
    "ReduceMax": _over_axes("maximum", torch.amax),
    "ReduceMin": _over_axes("minimum", torch.amin),
    "LayerNormalization": Readable(
        bends.layer_norm, (2, 3), attributes={"axis": ANY, "epsilon": ANY, "stash_type": (1,)}
    ),
    "GroupNormalization": Readable(
        bends.group_norm, (3, 3), attributes={"epsilon": ANY, "num_groups": ANY, "stash_type": (1,)}
    ),
    "InstanceNormalization": Readable(bends.instance_norm, (3, 3), attributes={"epsilon": ANY}),
    "Flatten": Readable(moves.flatten, attributes={"axis": ANY}),
    "Reshape": Readable(moves.reshape, (2, 2), numbers=(1,), attributes={"allowzero": (0, 1)}),
    "Transpose": Readable(moves.transpose, attributes={"perm": ANY}),
    "Squeeze": Readable(moves.squeeze, (1, 2), numbers=(1,)),
    "Unsqueeze": Readable(moves.unsqueeze, (2, 2), numbers=(1,)),
    "Slice": Readable(moves.slices, (3, 5), numbers=(1, 2, 3, 4)),
    "Split": Readable(moves.split, (1, 2), numbers=(1,), attributes={"axis": ANY, "num_outputs": ANY}, several=True),
    "Gather": Readable(moves.gather, (2, 2), numbers=(1,), attributes={"axis": ANY}),
    "Expand": Readable(moves.expand, (2, 2), numbers=(1,)),
    "Tile": Readable(moves.tile, (2, 2), numbers=(1,)),
    "Trilu": Readable(moves.trilu, (1, 2), numbers=(1,), attributes={"upper": (0, 1)}),
    "Concat": Readable(moves.concat, (1, None), attributes={"axis": ANY}),
    "Pad": Readable(moves.pad, (2, 4), numbers=(1, 2, 3), attributes={"mode": ("constant",)}),
    "Identity": _entrywise(lambda x: x),
    "Dropout": Readable(_dropout, (1, 3), numbers=(1, 2), attributes={"seed": ANY}),
    "Cast": Readable(_cast, attributes={"to": ANY, "saturate": ANY}),
    "Shape": Readable(moves.shape, attributes={"start": ANY, "end": ANY}, known=True),
}
"""By name."""


def complaints(node: Any, attributes: Attributes, used: frozenset[str]) -> list[str]:
    """Return what of one node cannot be read, in words.

    Args:
        node: the file's.
        attributes: its attributes, as plain values.
        used: names that other nodes, or the file's output, read.
    """
    kind = node.op_type
    if kind not in OPERATORS:
        return [kind]
    entry = OPERATORS[kind]
    found = []
    for name, value in attributes.items():
        if name not in entry.attributes:
            found.append(f"{kind} with the attribute {name}")
            continue
        allowed = entry.attributes[name]
        if allowed and not all(one in allowed for one in (value if isinstance(value, list) else [value])):
            found.append(f"{kind} with {name} {value}")
    least, most = entry.inputs
    if not least <= len(node.input) <= (len(node.input) if most is None else most):
        found.append(f"{kind} with {len(node.input)} inputs")
    if not entry.several and any(name and name in used for name in node.output[1:]):
        found.append(f"the second output of {kind}")
    return found
