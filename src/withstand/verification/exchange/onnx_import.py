"""ONNX files as torch networks: to certify, to attack, to replay counterexamples on.

`read_onnx(path)` gives an ordinary `nn.Module` in eval mode with the file's own precision; `capture` turns it into what
bounds are computed of, as any other module. The first dimension of the file's input is the batch, also where it is 1;
an input of one dimension that is no batch of any length is one sample. Whatever is read is held against onnxruntime.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError, DataError
from withstand.verification.exchange.onnx_file import STANDARD, converted, foreign, load, one_line, opset
from withstand.verification.exchange.onnx_fold import FOLDED, Fold
from withstand.verification.exchange.onnx_operators import OPERATORS, Attributes, Readable, Value, complaints
from withstand.verification.exchange.onnx_runtime import COUNT, Runtime, compare, points

_PRECISIONS = {1: torch.float32, 10: torch.float16, 11: torch.float64}
"""By the standard's numbers of types."""
_BATCH = 7
"""Samples of the first run, which tells shapes: a number that files seldom have for anything else."""
_RANGES = ((0, 1), (-2, 2))
"""Where a network is compared as long as nothing is asked of a box of its own."""
_TOLD = 16
"""How many things that cannot be read are named."""
_MOST = 1 << 24
_SHARE = 16
"""How many numbers a value may have for one sample: so many, and so many times what the file holds."""


@dataclass(frozen=True)
class _Step:
    """One node: what it is in torch, or how it is folded where its inputs are known numbers, and the names round it."""

    kind: str
    read: Readable | Fold
    attributes: Attributes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def numbers(self, place: int) -> bool:
        """Return whether an input is read as known numbers."""
        return isinstance(self.read, Fold) or place in self.read.numbers


class OnnxNetwork(nn.Module):
    """A network read from an ONNX file.

    Attributes:
        shape: one sample's shape, without the batch.
        dtype: the precision of its input.
        title: the file's name.
    """

    def __init__(
        self,
        steps: Sequence[_Step],
        constants: Mapping[str, npt.NDArray[Any]],
        entry: str,
        exit_: str,
        shape: tuple[int, ...],
        dtype: torch.dtype,
        title: str,
    ) -> None:
        super().__init__()
        self.shape, self.dtype, self.title = shape, dtype, title
        self._steps, self._entry, self._exit = tuple(steps), entry, exit_
        self._arrays: dict[str, npt.NDArray[Any]] = {}
        self._places: dict[str, str] = {}
        self._folded: dict[tuple[int, int], tuple[npt.NDArray[Any], ...]] = {}
        read = [(name, step.numbers(place)) for step in steps for place, name in enumerate(step.inputs)]
        as_numbers = {name for name, numbers in read if numbers}
        as_tensors = {name for name, numbers in read if not numbers}
        for place, (name, value) in enumerate(constants.items()):
            floating = value.dtype in (np.float16, np.float32, np.float64)
            if name in as_tensors and floating:
                self.register_buffer(f"constant_{place}", torch.from_numpy(np.array(value)))
                self._places[name] = f"constant_{place}"
            if name in as_numbers or (name in as_tensors and not floating):
                self._arrays[name] = value
        self._last = _last_uses(steps, exit_)

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs for inputs `(N, *shape)`."""
        values: dict[str, Value] = {self._entry: x}
        for place, step in enumerate(self._steps):
            try:
                self._run(place, step, x, values)
            except ConfigError as error:
                raise ConfigError(f"{self.title} cannot be read: {error} ({step.kind} {step.outputs[0]!r})") from None
            except (RuntimeError, IndexError, KeyError, TypeError, ValueError, OverflowError) as error:
                raise DataError(
                    f"{self.title}: {step.kind} {step.outputs[0]!r} does not fit: {one_line(error)}"
                ) from error
            for name in self._last[place]:
                values.pop(name, None)
        output = values.get(self._exit)
        if not isinstance(output, Tensor):
            raise DataError(f"{self.title}: its output does not depend on its input")
        return output

    def _run(self, place: int, step: _Step, x: Tensor, values: dict[str, Value]) -> None:
        """Compute one step's outputs into `values`."""
        given = [self._input(step, spot, x, values) for spot in range(len(step.inputs))]
        if isinstance(step.read, Fold):
            # Shapes, and what is computed of them, depend on the number of samples alone.
            found = self._folded.get((place, len(x)))
            if found is None:
                found = self._folded[place, len(x)] = step.read(dict(zip(step.inputs, given, strict=True)))
            values.update(zip(step.outputs, found, strict=False))
            return
        if step.kind == "Cast" and x.dtype != self.dtype:
            values[step.outputs[0]] = given[0]  # all is run in one precision that is not the file's
            return
        result = step.read.run(step.attributes, given)
        for name, value in zip(step.outputs, result if isinstance(result, list) else [result], strict=False):
            if isinstance(value, Tensor):
                self._check(value, x)
            values[name] = value

    def _input(self, step: _Step, place: int, x: Tensor, values: dict[str, Value]) -> Any:
        """Return an input as the operator reads it: a tensor, or known numbers."""
        name, numbers = step.inputs[place], step.numbers(place)
        if not name:
            return None
        if name in values:
            value = values[name]
        else:
            value = getattr(self, self._places[name]) if name in self._places and not numbers else self._arrays[name]
        if numbers and isinstance(value, Tensor):
            raise ConfigError("it computes from the network's input what has to be a fixed number")
        return value if numbers or isinstance(value, Tensor) else torch.from_numpy(value).to(x)

    def _check(self, value: Tensor, x: Tensor) -> None:
        """Refuse a value that is no batch, or larger than a file like this needs."""
        if value.dim() < 1 or len(value) != len(x):
            raise ConfigError(f"it makes {tuple(value.shape)} of {len(x)} samples, which have to stay apart")
        if not value.numel():
            raise ConfigError("it makes nothing of a sample, which has no bounds")
        held = sum(buffer.numel() for buffer in self.buffers()) + math.prod(self.shape)
        if value.numel() > len(x) * max(_MOST, _SHARE * held):
            raise ConfigError(f"it takes {value.numel() // len(x):,} numbers for one sample")


def _last_uses(steps: Sequence[_Step], exit_: str) -> list[list[str]]:
    """Return for each step the names that none after it reads."""
    last = {name: place for place, step in enumerate(steps) for name in (*step.outputs, *step.inputs) if name}
    last.pop(exit_, None)
    found: list[list[str]] = [[] for _ in steps]
    for name, place in last.items():
        found[place].append(name)
    return found


def read_onnx(path: Path | str) -> OnnxNetwork:
    """Read a file with one input and one output, packed by gzip or not, and compare it with onnxruntime.

    The points lie in [0, 1] and in [-2, 2]; what is asked of a box is compared there too, by `Instance`.

    Raises:
        MissingExtra: the packages onnx and onnxruntime are not installed.
        DataError: the file is missing, damaged, or has several inputs or outputs.
        ConfigError: it holds what cannot be read, all of which is named; or onnxruntime gives other outputs.
    """
    network, runtime = read_both(path)
    ends = torch.ones(network.shape)
    x = torch.cat([points(low * ends, high * ends, network.dtype, count=COUNT // 2) for low, high in _RANGES])
    compare(network, runtime, x, network.title)
    return network


def read_both(path: Path | str) -> tuple[OnnxNetwork, Runtime]:
    """Return a file as a torch network, and as onnxruntime runs it; whoever calls has to compare the two."""
    path = Path(path)
    own = load(path)
    title = path.name
    entry, shape, batched, dtype = _signature(own.graph, title)
    opset(own, title)
    _complain(own.graph, title, foreign(own), names_only=True)
    model = converted(own, title)
    narrow = [node for node in model.graph.node if node.op_type == "Cast" and dtype == torch.float64]
    narrow = [node for node in narrow if _PRECISIONS.get(_attributes(node)["to"], dtype) != dtype]
    _complain(model.graph, title, ["Cast of float64 to less, which rounds"] if narrow else [])
    try:
        steps, constants = _steps(model.graph, title)
    except ConfigError as error:
        raise ConfigError(f"{title} cannot be read: {error}") from None
    network = OnnxNetwork(steps, constants, entry, own.graph.output[0].name, shape, dtype, title).eval()
    with torch.no_grad():  # shapes alone, so that nothing large is computed of a file that is none
        held = {name: value.to("meta") for name, value in network.named_buffers()}
        torch.func.functional_call(network, held, (torch.empty(_BATCH, *shape, dtype=dtype, device="meta"),))
    return network, Runtime(own, shape, batched=batched, title=title)


def _signature(graph: Any, title: str) -> tuple[str, tuple[int, ...], bool, torch.dtype]:
    """Return the input's name, a sample's shape, whether a batch comes before it, and the precision."""
    stored = {item.name for item in graph.initializer}
    entries = [item for item in graph.input if item.name not in stored]
    if len(entries) != 1 or len(graph.output) != 1:
        raise DataError(f"{title} has {len(entries)} inputs and {len(graph.output)} outputs: one of each is wanted")
    kind = entries[0].type.tensor_type
    if kind.elem_type not in _PRECISIONS:
        from onnx import TensorProto

        known = kind.elem_type in TensorProto.DataType.values()
        name = TensorProto.DataType.Name(kind.elem_type).lower() if known else f"number {kind.elem_type}"
        raise ConfigError(f"{title} takes inputs of type {name}: float, double and float16 can be read")
    dims = tuple(side.dim_value for side in kind.shape.dim)
    batched = len(dims) != 1 or not kind.shape.dim[0].HasField("dim_value")
    shape = dims[1:] if batched else dims
    if not shape or any(side < 1 for side in shape):
        raise DataError(f"{title} takes inputs of shape {dims}: a batch of samples of fixed shape is wanted")
    if batched and dims[0] > 1:
        raise DataError(f"{title} takes batches of {dims[0]} samples: export it for one, or for any number")
    if math.prod(shape) > _MOST:
        raise ConfigError(f"{title} takes {math.prod(shape):,} numbers a sample: at most {_MOST:,} can be read")
    return entries[0].name, shape, batched, _PRECISIONS[kind.elem_type]


def _roles(graph: Any) -> list[str]:
    """Return what each node is: "fixed" where the input changes nothing of it, "folded" where it is computed of shapes
    alone, else "read".
    """
    fixed = {"", *(item.name for item in graph.initializer)}
    known = set(fixed)
    roles = []
    for node in graph.node:
        if fixed.issuperset(node.input):
            roles.append("fixed")
            fixed.update(node.output)
        else:
            roles.append("folded" if known.issuperset(node.input) else "read")
        shape = node.op_type in OPERATORS and OPERATORS[node.op_type].known
        if shape or roles[-1] != "read":
            known.update(node.output)
    return roles


def _complain(graph: Any, title: str, found: list[str], *, names_only: bool = False) -> None:
    """Refuse a graph, with all that cannot be read of it."""
    used = frozenset({name for node in graph.node for name in node.input} | {item.name for item in graph.output})
    for node, role in zip(graph.node, _roles(graph), strict=True):
        if role != "read":
            found += [] if node.op_type in FOLDED else [f"{node.op_type} of constants"]
        elif names_only:
            found += [] if node.op_type in OPERATORS or node.domain not in STANDARD else [node.op_type]
        else:
            found += complaints(node, _attributes(node), used)
    if found:
        said = list(dict.fromkeys(" ".join(one.split())[:120] for one in found))
        rest = f" and {len(said) - _TOLD} more" if len(said) > _TOLD else ""
        raise ConfigError(f"{title} holds what cannot be read here: {', '.join(said[:_TOLD])}{rest}")


def _steps(graph: Any, title: str) -> tuple[list[_Step], dict[str, npt.NDArray[Any]]]:
    """Return what is computed of the input, and all known numbers."""
    from onnx import numpy_helper

    constants: dict[str, npt.NDArray[Any]] = {}
    for item in graph.initializer:
        try:
            constants[item.name] = numpy_helper.to_array(item)
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            raise DataError(
                f"{title} is damaged: its weight {item.name!r} cannot be read: {one_line(error)}"
            ) from error
    steps = []
    for node, role in zip(graph.node, _roles(graph), strict=True):
        if role == "fixed":
            outputs = Fold(node)({name: constants[name] for name in node.input if name})
            constants.update(zip(node.output, outputs, strict=False))
            continue
        read = Fold(node) if role == "folded" else OPERATORS[node.op_type]
        steps.append(_Step(node.op_type, read, _attributes(node), tuple(node.input), tuple(node.output)))
    return steps, constants


def _attributes(node: Any) -> dict[str, Any]:
    """Return a node's attributes as plain values."""
    from onnx import helper

    found = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    return {
        name: value.decode(errors="replace") if isinstance(value, bytes) else value for name, value in found.items()
    }
