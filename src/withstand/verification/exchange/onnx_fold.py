"""What an ONNX file computes from known numbers alone, by the standard's own reference: shapes, folded weights."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from withstand.core.errors import ConfigError
from withstand.verification.exchange.onnx_file import OPSET, one_line

FOLDED = frozenset({
    "Abs", "Add", "And", "Cast", "Ceil", "Clip", "Concat", "Constant", "ConstantOfShape", "DequantizeLinear", "Div",
    "Equal", "Exp", "Expand", "Flatten", "Floor", "Gather", "GatherND", "Greater", "GreaterOrEqual", "Identity",
    "Less", "LessOrEqual", "Log", "MatMul", "Max", "Min", "Mod", "Mul", "Neg", "Not", "Or", "Pad", "Pow", "Range",
    "Reciprocal", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "Relu", "Reshape", "Shape",
    "Sigmoid", "Sign", "Size", "Slice", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Tanh", "Tile", "Transpose",
    "Trilu", "Unsqueeze", "Where",
})  # fmt: skip
"""Operators that may be computed so."""
_MOST = 1 << 24
"""How many numbers a result may have that is larger than everything it is computed of."""
_PLAIN = 4096
"""Up to so many numbers, values help to tell a result's shape beforehand."""


@dataclass
class Fold:
    """One node of known numbers.

    Attributes:
        node: the file's.
    """

    node: Any
    _evaluator: Any = field(default=None, repr=False)

    def __call__(self, inputs: Mapping[str, npt.NDArray[Any]]) -> tuple[npt.NDArray[Any], ...]:
        """Return the node's outputs.

        Raises:
            ConfigError: it cannot be computed, or would be much larger than what it is computed of.
        """
        from onnx.reference import ReferenceEvaluator

        self._check_size(inputs)
        try:
            if self._evaluator is None:
                self._evaluator = ReferenceEvaluator(self.node, opsets={"": OPSET})
            with np.errstate(all="ignore"):
                outputs = self._evaluator.run(None, {name: inputs[name] for name in self.node.input if name})
            return tuple(np.asarray(output) for output in outputs)
        except Exception as error:  # what another library's operators raise on odd inputs is no closed list
            raise ConfigError(f"its {self.node.op_type} of constants cannot be computed: {one_line(error)}") from error

    def _check_size(self, inputs: Mapping[str, npt.NDArray[Any]]) -> None:
        """Refuse a result that memory may not hold, before it is computed."""
        from onnx import defs, helper, numpy_helper, shape_inference

        known = {name: inputs[name] for name in self.node.input if name}
        types = {
            name: helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
            for name, value in known.items()
        }
        data = {name: numpy_helper.from_array(value, name) for name, value in known.items() if value.size <= _PLAIN}
        try:
            found = shape_inference.infer_node_outputs(
                defs.get_schema(self.node.op_type, OPSET), self.node, types, data,
                opset_imports=[helper.make_opsetid("", OPSET)],
            )  # fmt: skip
        except Exception as error:
            raise ConfigError(f"its {self.node.op_type} of constants does not fit: {one_line(error)}") from error
        allowed = max([_MOST, *(value.size for value in known.values())])
        for output in found.values():
            sides = [side.dim_value for side in output.tensor_type.shape.dim if side.HasField("dim_value")]
            whole = output.tensor_type.HasField("shape") and len(sides) == len(output.tensor_type.shape.dim)
            if not whole or math.prod(sides) > allowed:
                said = f"{math.prod(sides):,} numbers" if whole else "nobody knows how many numbers"
                raise ConfigError(f"its {self.node.op_type} of constants has {said}: at most {allowed:,} are computed")
