"""ONNX files as torch networks: to certify, to attack, to replay counterexamples on.

`read_onnx(path)` gives an ordinary `nn.Module` in eval mode with the file's own precision; `capture` turns it into what
bounds are computed of, as any other module. The first dimension of the file's input is the batch, also where it is 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError, DataError, MissingExtra
from withstand.verification.exchange.onnx_operators import Attributes, Operator, Value, operator


@dataclass(frozen=True)
class _Step:
    """One node: its operator, attributes, and the names it reads and writes; `node` is the file's own."""

    run: Operator
    attributes: Attributes
    inputs: tuple[str, ...]
    output: str
    node: Any


class OnnxNetwork(nn.Module):
    """A network read from an ONNX file.

    Attributes:
        shape: one sample's shape, without the batch.
        title: the file's name.
    """

    def __init__(
        self,
        steps: Sequence[_Step],
        constants: dict[str, Any],
        entry: str,
        exit_: str,
        shape: tuple[int, ...],
        title: str,
    ) -> None:
        super().__init__()
        self.shape, self.title = shape, title
        self._steps, self._entry, self._exit = tuple(steps), entry, exit_
        self._arrays: dict[str, Any] = {}
        self._buffers_by_name: dict[str, str] = {}
        for place, (name, value) in enumerate(constants.items()):
            if np.issubdtype(value.dtype, np.floating):
                self.register_buffer(f"constant_{place}", torch.from_numpy(np.array(value)))
                self._buffers_by_name[name] = f"constant_{place}"
            else:
                self._arrays[name] = value

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs for inputs `(N, *shape)`."""
        values: dict[str, Value] = {self._entry: x, **self._arrays}
        values |= {name: getattr(self, place) for name, place in self._buffers_by_name.items()}
        for step in self._steps:
            inputs = [values[name] if name else None for name in step.inputs]
            if step.node.op_type != "Shape" and not any(isinstance(value, Tensor) for value in inputs):
                values[step.output] = _evaluate(step.node, dict(zip(step.inputs, inputs, strict=True)))
                continue
            try:
                values[step.output] = step.run(step.attributes, [_tensor(value, step, x) for value in inputs])
            except (RuntimeError, IndexError, KeyError, TypeError) as error:
                reason = " ".join(str(error).split())
                raise DataError(f"{self.title}: {step.node.op_type} {step.output!r} does not fit: {reason}") from error
        output = values[self._exit]
        assert isinstance(output, Tensor)
        return output


_BY_VALUE = {"Reshape", "Squeeze", "Unsqueeze", "Slice", "Gather", "Pad", "ReduceMean", "ReduceSum", "Clip"}
"""Operators that read some inputs as plain numbers."""


def _tensor(value: Value, step: _Step, like: Tensor) -> Value:
    """Return numbers that are known as a tensor where the operator calculates with them."""
    if isinstance(value, np.ndarray) and step.node.op_type not in _BY_VALUE:
        return torch.from_numpy(value).to(like)
    return value


def read_onnx(path: Path | str) -> OnnxNetwork:
    """Read a file with one input and one output.

    Raises:
        MissingExtra: the package onnx is not installed.
        DataError: the file is missing, damaged, or has several inputs or outputs.
        ConfigError: it uses an operator that cannot be read, with the nearest that can.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingExtra("reading ONNX files", "onnx", "certify") from error
    path = Path(path)
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    try:
        model = onnx.load(str(path))
    except Exception as error:  # protobuf's decoder raises types of its own
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path} is not an ONNX file that can be read: {reason}") from error
    return _network(model.graph, path.name)


def _network(graph: Any, title: str) -> OnnxNetwork:
    from onnx import helper, numpy_helper

    constants = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    entries = [item for item in graph.input if item.name not in constants]
    if len(entries) != 1 or len(graph.output) != 1:
        raise DataError(f"{title} has {len(entries)} inputs and {len(graph.output)} outputs: one of each is wanted")
    shape = tuple(dim.dim_value for dim in entries[0].type.tensor_type.shape.dim)
    if len(shape) < 2 or any(side < 1 for side in shape[1:]):
        raise DataError(f"{title} takes inputs of shape {shape}: a batch of samples of fixed shape is wanted")
    if shape[0] > 1:
        raise DataError(f"{title} takes batches of {shape[0]} samples: export it for one, or for any number")
    steps: list[_Step] = []
    known = {"", entries[0].name, *constants}
    for node in graph.node:
        missing = [name for name in node.input if name not in known]
        if missing:
            raise DataError(f"{title} is damaged: {node.op_type} reads {missing[0]!r}, which nothing gives before it")
        known.update(node.output)
        if any(name and name not in constants for name in node.input) or node.op_type == "Shape":
            attributes = {item.name: _plain(helper.get_attribute_value(item)) for item in node.attribute}
            steps.append(_Step(operator(node.op_type), attributes, tuple(node.input), node.output[0], node))
        else:  # nothing of it depends on the input
            constants[str(node.output[0])] = _evaluate(
                node, {str(name): constants[str(name)] for name in node.input if name}
            )
    if graph.output[0].name not in known:
        raise DataError(f"{title} is damaged: nothing gives its output {graph.output[0].name!r}")
    return OnnxNetwork(steps, constants, entries[0].name, graph.output[0].name, shape[1:], title)


def _plain(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def _evaluate(node: Any, inputs: dict[str, Any]) -> Any:
    """Return what a node makes of known numbers, by the standard's own reference."""
    from onnx.reference import ReferenceEvaluator

    try:
        outputs: Any = ReferenceEvaluator(node).run(None, {name: inputs[name] for name in inputs if name})
        return np.asarray(outputs[0])
    except (NotImplementedError, ValueError, RuntimeError, TypeError) as error:
        raise ConfigError(f"the ONNX file's {node.op_type} of constants cannot be computed: {error}") from error
