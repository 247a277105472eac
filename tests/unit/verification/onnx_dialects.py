"""Small ONNX networks in the dialects of opsets 7 to 22: every operator that is read, in its forms, and odd ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper, save

FLOAT, HALF, DOUBLE = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE
_TYPES = {FLOAT: np.float32, HALF: np.float16, DOUBLE: np.float64}
OLD, MIDDLE, NEW = (7, 9, 11), (13, 15), (18, 20, 21, 22)
ALL = (*OLD, *MIDDLE, *NEW)


@dataclass(frozen=True)
class Dialect:
    """One network.

    Attributes:
        name: for messages.
        nodes: as `node` makes them; the first reads x, the last gives y.
        opsets: in which it is written.
        refused: part of the message where it is not read; empty where it has to be equal.
        shape: one sample's shape.
        batch: the file's first dimension: a number, or a name; None for no batch at all.
        types: in which precisions it is written.
    """

    name: str
    nodes: Sequence[object]
    opsets: tuple[int, ...]
    refused: str = ""
    shape: tuple[int, ...] = (2, 4, 6)
    batch: int | str | None = 1
    types: tuple[int, ...] = (FLOAT,)


def node(kind: str, *inputs: str, out: str = "y", **attributes: object) -> object:
    return helper.make_node(kind, list(inputs), out.split(), **attributes)


def _drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).uniform(-1, 1, shape)


FLOATS = {
    "w": _drawn(3, 2, 3, 3), "w1": _drawn(3, 2, 3), "w_grouped": _drawn(4, 1, 3, 3), "b": _drawn(3),
    "two": _drawn(2), "spread": np.array([0.5, 2.0]), "m": _drawn(48, 4), "m_turned": _drawn(4, 48),
    "c": _drawn(4), "c_row": _drawn(1, 4), "c_one": _drawn(1), "left": _drawn(5, 4), "right": _drawn(6, 3),
    "channel": _drawn(2, 1, 1), "whole": _drawn(1, 2, 4, 6), "row": _drawn(6, 3), "vector": _drawn(3),
    "w_turned": _drawn(2, 3, 3, 3) + 0.1, "w_apart": _drawn(2, 2, 3, 3) - 0.1, "w1_turned": _drawn(2, 3, 3) + 0.1,
    "six": _drawn(6), "row_of_six": _drawn(1, 6)[0] * 0.5, "six_rows": _drawn(4, 6), "two_one": np.array([2.0]),
    "spread_row": np.arange(6.0), "twenty": np.array(20.0),
    "holes": np.where(np.arange(24).reshape(4, 6) % 3 == 1, -np.inf, 0.2), "nowhere": np.array(-np.inf),
    "later": np.where(np.tri(4) > 0, 0.0, -np.inf),
    "half": np.array(0.5), "third": np.array(0.3), "zero": np.array(0.0), "minus": np.array(-0.25),
}  # fmt: skip
INTEGERS = {
    "i0": [0], "i1": [1], "i2": [2], "i3": [3], "i23": [2, 3], "i-1": [-1], "i-1-2": [-1, -2], "none": [],
    "to_flat": [1, -1], "to_all": [-1, 48], "to_kept": [0, 8, -1], "to_zero": [0, 0, -1], "to_batch": [-1, 4, 6],
    "pads": [0, 0, 1, 2, 0, 0, 0, 1], "pads_batch": [1, 0, 0, 0, 0, 0, 0, 0], "pads_one": [1, 2],
    "crop": [0, 0, -1, 0, 0, 0, 0, -2], "starts": [1, -4], "ends": [9, -1], "axes": [2, 3], "steps": [1, 2],
    "parts": [2, 4], "places": [1, -2, 0], "table": [[0, 1], [-1, 2]], "big": [9223372036854775807],
    "wide": [1, 1, 3, 1, 1], "many": [2, 1, 1, 1], "times": [1, 2, 1, 3],
}  # fmt: skip
SCALARS = {
    "mask": np.arange(24).reshape(4, 6) % 3 == 1,
    "s0": np.array(0),
    "s1": np.array(1),
    "s-1": np.array(-1),
    "yes": np.array(True),
    "no": np.array(False),
}

_STATISTICS = ("two", "two", "two", "spread")

DIALECTS = [
    # sums and products
    Dialect("add a channel", [node("Add", "x", "channel")], ALL, types=(FLOAT, HALF, DOUBLE)),
    Dialect("subtract from a number", [node("Sub", "half", "x")], ALL),
    Dialect("multiply by a whole", [node("Mul", "x", "whole")], (7, 22), batch="N"),
    Dialect("divide", [node("Div", "x", "half")], ALL, types=(FLOAT, HALF, DOUBLE)),
    Dialect("sum of three", [node("Sum", "x", "whole", "x")], (8, 13, 22)),
    Dialect("negative", [node("Neg", "x")], ALL),
    Dialect("folded constants", [node("Mul", "half", "third", out="k"), node("Sqrt", "half", out="r"),
        node("Add", "k", "r", out="kr"), node("Mul", "x", "kr")], (7, 14, 22)),
    # matrices
    Dialect("matmul on the last axis", [node("MatMul", "x", "right")], ALL, types=(FLOAT, DOUBLE)),
    Dialect("matmul from the left", [node("MatMul", "left", "x")], (9, 22)),
    Dialect("gemm", [node("Flatten", "x", out="f"), node("Gemm", "f", "m", "c")], ALL, types=(FLOAT, HALF, DOUBLE)),
    Dialect("gemm, turned and scaled", [node("Flatten", "x", out="f"),
        node("Gemm", "f", "m_turned", "c_row", alpha=0.3, beta=-0.7, transB=1)], ALL, batch="N",
        types=(FLOAT, DOUBLE)),
    Dialect("gemm with one number", [node("Flatten", "x", out="f"), node("Gemm", "f", "m", "c_one")], (7, 11, 22)),
    Dialect("gemm without bias", [node("Flatten", "x", out="f"), node("Gemm", "f", "m")], (11, 22)),
    Dialect("gemm of columns", [node("Flatten", "x", out="f"), node("Gemm", "m", "f", "", transA=1, transB=1)], (13,),
        "Gemm with transA"),
    # windows
    Dialect("conv", [node("Conv", "x", "w", "b", pads=[1, 0, 2, 1], strides=[2, 1])], (7, 11, 22)),
    Dialect("conv, which no kernel runs", [node("Conv", "x", "w", "b")], (13, 22), "onnxruntime does not run it",
        types=(DOUBLE,)),
    Dialect("conv, dilated, kernel named", [node("Conv", "x", "w", kernel_shape=[3, 3], dilations=[1, 2],
        pads=[1, 1, 1, 1])], (7, 22)),
    Dialect("conv, grouped", [node("Concat", "x", "x", axis=1, out="t"), node("Conv", "t", "w_grouped", group=4)],
        (7, 22), batch="N"),
    Dialect("conv, valid", [node("Conv", "x", "w", auto_pad="VALID")], (7, 22)),
    Dialect("conv, same", [node("Conv", "x", "w", auto_pad="SAME_UPPER")], (7, 22), "Conv with auto_pad SAME_UPPER"),
    Dialect("conv in one dimension", [node("Conv", "x", "w1", pads=[1, 1])], (7, 22), shape=(2, 6)),
    Dialect("conv, transposed", [node("ConvTranspose", "x", "w_turned", "b", pads=[1, 0, 0, 2], strides=[2, 1],
        output_padding=[1, 0])], (7, 11, 22)),
    Dialect("conv, transposed and grouped", [node("ConvTranspose", "x", "w_apart", group=2, kernel_shape=[3, 3],
        dilations=[1, 2])], (7, 22), batch="N"),
    Dialect("conv, transposed to a shape", [node("ConvTranspose", "x", "w_turned", output_shape=[6, 8])], (11, 22),
        "ConvTranspose with the attribute output_shape"),
    Dialect("conv, transposed, in one dimension", [node("ConvTranspose", "x", "w1_turned", pads=[1, 1],
        strides=[2])], (7, 22), shape=(2, 6)),
    Dialect("pools in one dimension", [node("MaxPool", "x", kernel_shape=[3], pads=[1, 1], out="t"),
        node("AveragePool", "t", kernel_shape=[2], strides=[2])], (7, 12, 22), shape=(2, 6)),
    Dialect("largest of channels in one dimension", [node("GlobalMaxPool", "x")], (7, 22), shape=(2, 6)),
    Dialect("average pool", [node("AveragePool", "x", kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2])], ALL,
        types=(FLOAT,)),
    Dialect("average pool, padding counted", [node("AveragePool", "x", kernel_shape=[2, 2], pads=[1, 0, 0, 1],
        count_include_pad=1)], (7, 11, 22)),
    Dialect("average pool, dilated", [node("AveragePool", "x", kernel_shape=[2, 2], dilations=[2, 2])], (19, 22),
        "AveragePool with dilations"),
    Dialect("average pool, ceiling", [node("AveragePool", "x", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)],
        (10, 19, 22), "ceil_mode"),
    Dialect("average pool, ceiling without effect", [node("AveragePool", "x", kernel_shape=[2, 2], strides=[2, 2],
        ceil_mode=1)], (10, 19, 22)),
    Dialect("average pool, same", [node("AveragePool", "x", kernel_shape=[2, 2], auto_pad="SAME_LOWER")], (7, 22),
        "AveragePool with auto_pad SAME_LOWER"),
    Dialect("average pool, uneven", [node("AveragePool", "x", kernel_shape=[2, 2], pads=[1, 0, 0, 0])], (11,),
        "uneven"),
    Dialect("max pool", [node("MaxPool", "x", kernel_shape=[2, 2], strides=[2, 2])], ALL),
    Dialect("max pool, padded and dilated", [node("MaxPool", "x", kernel_shape=[2, 3], pads=[1, 1, 1, 1],
        dilations=[2, 1])], (10, 12, 22)),
    Dialect("max pool, ceiling", [node("MaxPool", "x", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)],
        (10, 12, 22)),
    Dialect("max pool, padded, ceiling", [node("MaxPool", "x", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1,
        pads=[1, 1, 1, 1])], (10, 12, 22)),
    Dialect("max pool, padded, far steps", [node("MaxPool", "x", kernel_shape=[2, 2], strides=[3, 3], ceil_mode=1,
        pads=[1, 1, 1, 1])], (10, 12, 22)),
    Dialect("max pool, its places", [node("MaxPool", "x", kernel_shape=[2, 2], out="t i"),
        node("Cast", "i", out="f", to=FLOAT), node("Add", "t", "f")], (12,), "the second output of MaxPool"),
    Dialect("max pool, places unused", [node("MaxPool", "x", kernel_shape=[2, 2], out="y i")], (12, 22)),
    Dialect("max pool, columns first", [node("MaxPool", "x", kernel_shape=[2, 2], storage_order=1)], (12,),
        "MaxPool with storage_order 1"),
    Dialect("mean of channels", [node("GlobalAveragePool", "x")], ALL),
    Dialect("largest of channels", [node("GlobalMaxPool", "x")], ALL),
    # normalisation and the like
    Dialect("batch norm", [node("BatchNormalization", "x", *_STATISTICS)], ALL, types=(FLOAT, DOUBLE)),
    Dialect("batch norm, another epsilon", [node("BatchNormalization", "x", *_STATISTICS, epsilon=0.3, momentum=0.3)],
        (7, 9, 14, 15, 22), types=(FLOAT, DOUBLE)),
    Dialect("batch norm in training", [node("BatchNormalization", "x", *_STATISTICS, training_mode=1, out="y a b")],
        (14, 15, 22), "BatchNormalization with training_mode 1"),
    Dialect("dropout", [node("Dropout", "x", ratio=0.5)], (7, 10), batch="N"),
    Dialect("dropout, new", [node("Dropout", "x", "half", "no")], (12, 13, 22)),
    Dialect("dropout in training", [node("Dropout", "x", "half", "yes")], (12, 13, 22), "Dropout in training"),
    # activations
    Dialect("relu", [node("Relu", "x")], ALL, types=(FLOAT, HALF, DOUBLE)),
    Dialect("leaky relu", [node("LeakyRelu", "x")], ALL),
    Dialect("leaky relu, another slope", [node("LeakyRelu", "x", alpha=0.3)], (7, 22), batch="N"),
    Dialect("sigmoid", [node("Sigmoid", "x")], ALL, types=(FLOAT, DOUBLE)),
    Dialect("tanh", [node("Tanh", "x")], ALL, types=(FLOAT, DOUBLE)),
    Dialect("clip, old", [node("Clip", "x", min=-0.25, max=0.5)], (7, 9)),
    Dialect("clip, old, one side", [node("Clip", "x", min=0.0)], (7, 9)),
    Dialect("clip", [node("Clip", "x", "minus", "half")], (11, 12, 13, 22)),
    Dialect("clip from above", [node("Clip", "x", "", "half")], (11, 13, 22)),
    Dialect("softmax, flattened", [node("Softmax", "x")], (7, 11), shape=(3, 4)),
    Dialect("softmax, flattened at 2", [node("Softmax", "x", axis=2)], (7, 11), shape=(3, 4)),
    Dialect("softmax of vectors", [node("Softmax", "x", axis=1)], ALL, shape=(5,), types=(FLOAT, DOUBLE)),
    Dialect("softmax, new", [node("Softmax", "x")], (13, 22), batch="N"),
    Dialect("softmax over channels", [node("Softmax", "x", axis=1)], (13, 22)),
    Dialect("log softmax", [node("LogSoftmax", "x")], ALL, shape=(5,)),
    Dialect("log softmax, flattened", [node("LogSoftmax", "x", axis=1)], (7, 11), shape=(3, 4)),
    Dialect("softmax of what a mask leaves", [node("Add", "x", "holes", out="t"), node("Softmax", "t", axis=2, out="u"),
        node("Mul", "u", "third")], (13, 22), shape=(4, 6), types=(FLOAT, DOUBLE)),
    Dialect("softmax of what a choice leaves", [node("Where", "mask", "nowhere", "x", out="t"),
        node("Softmax", "t", axis=2, out="u"), node("Mul", "u", "third")], (13, 22), batch="N", shape=(4, 6)),
    Dialect("causal attention", [node("Transpose", "x", out="k", perm=[0, 2, 1]), node("MatMul", "x", "k", out="s"),
        node("Add", "s", "later", out="t"), node("Softmax", "t", axis=2, out="u"), node("MatMul", "u", "x")],
        (13, 22), shape=(4, 6)),
    Dialect("softmax over samples", [node("Softmax", "x", axis=0)], (13,), "over the samples"),
    Dialect("absolute values", [node("Abs", "x")], ALL, types=(FLOAT, DOUBLE)),
    Dialect("largest of three", [node("Neg", "x", out="t"), node("Max", "x", "t", "channel")], (8, 11, 13, 22)),
    Dialect("smaller of two", [node("Min", "x", "half")], (8, 12, 13, 22), batch="N"),
    Dialect("largest of one", [node("Max", "x", out="t"), node("Min", "t")], (8, 22)),
    Dialect("elu", [node("Elu", "x")], (7, 22)),
    Dialect("elu, another alpha", [node("Elu", "x", alpha=0.3)], (7, 22)),
    Dialect("selu", [node("Selu", "x")], (7, 22)),
    Dialect("selu, other numbers", [node("Selu", "x", alpha=0.4, gamma=2.0)], (7, 22)),
    Dialect("celu", [node("Celu", "x", alpha=0.7)], (12, 22)),
    Dialect("gelu", [node("Gelu", "x")], (20, 22)),
    Dialect("gelu by tanh", [node("Gelu", "x", approximate="tanh")], (20, 22), batch="N"),
    Dialect("gelu in parts", [node("Mul", "x", "third", out="t"), node("Erf", "t", out="u"),
        node("Add", "u", "half", out="v"), node("Mul", "v", "x")], (9, 13, 22)),
    Dialect("hard sigmoid", [node("HardSigmoid", "x")], (7, 22), types=(FLOAT,)),
    Dialect("hard sigmoid, other numbers", [node("HardSigmoid", "x", alpha=0.4, beta=0.3)], (7, 22)),
    Dialect("hard swish", [node("HardSwish", "x")], (14, 22)),
    Dialect("mish", [node("Mish", "x")], (18, 22)),
    Dialect("softplus", [node("Mul", "x", "twenty", out="t"), node("Softplus", "t")], (7, 22)),
    Dialect("softsign", [node("Softsign", "x")], (7, 22)),
    Dialect("prelu", [node("PRelu", "x", "c_one")], (7, 9, 16, 22)),
    Dialect("prelu by channels", [node("PRelu", "x", "channel")], (7, 9, 16, 22)),
    Dialect("thresholded", [node("ThresholdedRelu", "x")], (10, 22), "here: ThresholdedRelu"),
    Dialect("exponential and logarithm", [node("Exp", "x", out="t"), node("Add", "t", "half", out="u"),
        node("Log", "u")], ALL, types=(FLOAT, DOUBLE)),
    Dialect("root and quotient", [node("Mul", "x", "x", out="t"), node("Add", "t", "half", out="u"),
        node("Sqrt", "u", out="v"), node("Reciprocal", "v", out="r"), node("Div", "x", "r")], ALL),
    Dialect("square", [node("Pow", "x", "two_one")], (7, 12, 13, 22)),
    Dialect("powers of entries", [node("Pow", "x", "spread_row")], (13, 22), "a Pow with 6 exponents"),
    Dialect("power of the input", [node("Pow", "half", "x")], (13, 22), "what has to be a fixed number"),
    Dialect("chosen", [node("Neg", "x", out="t"), node("Where", "mask", "x", "t")], (9, 16, 22)),
    Dialect("chosen or a number", [node("Where", "mask", "half", "x")], (9, 22), batch="N"),
    Dialect("mean of two", [node("Neg", "x", out="t"), node("Mean", "x", "t", "whole")], (8, 13, 22)),
    Dialect("layer norm", [node("LayerNormalization", "x", "six", "row_of_six")], (17, 22)),
    Dialect("layer norm without bias", [node("LayerNormalization", "x", "six_rows", axis=2, epsilon=0.1)], (17, 22),
        batch="N"),
    Dialect("layer norm of samples", [node("LayerNormalization", "x", "six", axis=0)], (17, 22), "samples of a batch"),
    Dialect("layer norm, its mean", [node("LayerNormalization", "x", "six", out="t q"), node("Add", "t", "q")], (17,),
        "the second output of LayerNormalization"),
    Dialect("group norm", [node("GroupNormalization", "x", "two", "spread", num_groups=1)], (21, 22)),
    Dialect("instance norm", [node("InstanceNormalization", "x", "two", "spread", epsilon=0.01)], (7, 22)),
    # sums over axes
    Dialect("largest over axes", [node("ReduceMax", "x", axes=[2], keepdims=0)], (7, 11, 13)),
    Dialect("largest over axes, new", [node("ReduceMax", "x", "i23")], (18, 20, 22)),
    Dialect("smallest over axes", [node("ReduceMin", "x", axes=[-1])], (7, 11, 13), batch="N"),
    Dialect("largest of everything", [node("ReduceMax", "x")], (7, 22), "over all axes"),
    Dialect("mean", [node("ReduceMean", "x", axes=[2, 3], keepdims=0)], (7, 11, 13)),
    Dialect("mean, new", [node("ReduceMean", "x", "i-1-2")], (18, 22)),
    Dialect("sum", [node("ReduceSum", "x", axes=[-1])], (7, 11)),
    Dialect("sum, new", [node("ReduceSum", "x", "i23", keepdims=0)], (13, 22), types=(FLOAT, DOUBLE)),
    Dialect("sum of everything", [node("ReduceSum", "x")], (7, 13, 22), "over all axes"),
    Dialect("sum of nothing", [node("ReduceSum", "x", noop_with_empty_axes=1)], (13, 22)),
    Dialect("sum of nothing, named", [node("ReduceSum", "x", "none", noop_with_empty_axes=1)], (13, 22)),
    Dialect("mean of nothing", [node("ReduceMean", "x", noop_with_empty_axes=1)], (18, 22)),
    Dialect("mean over samples", [node("ReduceMean", "x", axes=[0])], (11,), "samples of a batch", batch="N"),
    # entries moved
    Dialect("flatten", [node("Flatten", "x")], ALL, types=(FLOAT, HALF, DOUBLE)),
    Dialect("flatten from the back", [node("Flatten", "x", axis=-3)], (11, 22), batch="N"),
    Dialect("flatten late", [node("Flatten", "x", axis=2)], (9, 22), "Flatten from axis 2"),
    Dialect("reshape for one", [node("Reshape", "x", "to_flat")], ALL),
    Dialect("reshape by size", [node("Reshape", "x", "to_all")], (7, 22), batch="N"),
    Dialect("reshape, kept", [node("Reshape", "x", "to_kept")], (7, 14, 22), batch="N"),
    Dialect("reshape, two kept", [node("Reshape", "x", "to_zero")], (7, 22), batch="N"),
    Dialect("reshape, zeros meant", [node("Reshape", "x", "to_flat", allowzero=1)], (14, 22)),
    Dialect("reshape over samples", [node("Reshape", "x", "to_batch")], (9, 22), "have to stay apart"),
    Dialect("view(size(0), -1), old", [node("Shape", "x", out="s"), node("Gather", "s", "s0", axis=0, out="n"),
        node("Unsqueeze", "n", axes=[0], out="u"), node("Concat", "u", "i-1", axis=0, out="t"),
        node("Reshape", "x", "t")], (7, 9, 11), batch="N"),
    Dialect("view(size(0), -1), new", [node("Shape", "x", start=0, end=1, out="s"),
        node("Concat", "s", "i-1", axis=0, out="t"), node("Reshape", "x", "t", allowzero=1)], (15, 18, 22), batch="N"),
    Dialect("some sides", [node("Shape", "x", start=-2, out="s"), node("Concat", "i1", "i-1", "s", axis=0, out="t"),
        node("Reshape", "x", "t")], (15, 22)),
    Dialect("a constant as a node", [node("Constant", out="t", value=numpy_helper.from_array(np.array([1, -1]))),
        node("Reshape", "x", "t")], (7, 13, 22)),
    Dialect("transpose", [node("Transpose", "x", perm=[0, 2, 3, 1])], ALL),
    Dialect("transpose of samples", [node("Transpose", "x")], (11, 22), "Transpose to the order [3, 2, 1, 0]"),
    Dialect("unsqueeze and squeeze, old", [node("Unsqueeze", "x", axes=[2], out="t"),
        node("Squeeze", "t", axes=[2])], (7, 11)),
    Dialect("unsqueeze and squeeze", [node("Unsqueeze", "x", "i-1", out="t"), node("Squeeze", "t", "i-1")], (13, 22)),
    Dialect("squeeze whatever", [node("Unsqueeze", "x", "i2", out="t"), node("Squeeze", "t")], (13, 22),
        "Squeeze without axes"),
    Dialect("slice, old", [node("Slice", "x", axes=[2, 3], starts=[1, -4], ends=[9, -1])], (7, 9)),
    Dialect("slice", [node("Slice", "x", "starts", "ends", "axes", "steps")], (10, 13, 22), batch="N"),
    Dialect("slice backward", [node("Slice", "x", "i-1", "i0", "i3", "i-1")], (10, 22), "Slice with step -1"),
    Dialect("slice of samples", [node("Slice", "x", "i0", "big", "i0", out="t"), node("Relu", "t")], (10, 22),
        batch="N"),
    Dialect("gather", [node("Gather", "x", "places", axis=2)], ALL),
    Dialect("gather one", [node("Gather", "x", "s-1", axis=3)], (11, 22), batch="N"),
    Dialect("gather a table", [node("Gather", "x", "table", axis=2)], (7, 22)),
    Dialect("gather a sample", [node("Gather", "x", "s0", axis=0)], (9, 22), "samples of a batch"),
    Dialect("expanded", [node("Unsqueeze", "x", "i2", out="t"), node("Expand", "t", "wide")], (13, 22)),
    Dialect("expanded samples", [node("Expand", "x", "many")], (9, 22), "repeats the samples"),
    Dialect("tiled", [node("Tile", "x", "times")], (7, 13, 22), batch="N"),
    Dialect("tiled samples", [node("Tile", "x", "many")], (13, 22), "repeats the samples"),
    Dialect("a triangle", [node("Trilu", "x", upper=0)], (14, 22)),
    Dialect("the other triangle", [node("Trilu", "x", "s1")], (14, 22), batch="N"),
    Dialect("concat", [node("Neg", "x", out="t"), node("Concat", "x", "t", "whole", axis=1)], ALL, batch="N"),
    Dialect("concat of samples", [node("Concat", "x", "x", axis=0)], (9, 22), "samples of a batch"),
    Dialect("split in halves, old", [node("Split", "x", axis=2, out="p q"), node("Sub", "p", "q")], (7, 11)),
    Dialect("split in parts, old", [node("Split", "x", axis=3, split=[2, 4], out="p q"),
        node("Concat", "q", "p", axis=3)], (7, 11), batch="N"),
    Dialect("split in halves", [node("Split", "x", axis=1, out="p q"), node("Sub", "p", "q")], (13, 15)),
    Dialect("split in so many", [node("Split", "x", axis=3, num_outputs=3, out="p q r"),
        node("Concat", "r", "q", "p", axis=3)], (18, 22), shape=(2, 4, 7)),
    Dialect("split in too many", [node("Split", "x", axis=3, num_outputs=4, out="p q r s"),
        node("Concat", "s", "q", "p", axis=3)], (18, 22), "makes nothing of a sample"),
    Dialect("split in parts", [node("Split", "x", "parts", axis=-1, out="p q"), node("Concat", "q", "p", axis=3)],
        (13, 18, 22)),
    Dialect("pad, old", [node("Pad", "x", pads=[0, 0, 1, 2, 0, 0, 0, 1])], (7, 9)),
    Dialect("pad, reflected", [node("Pad", "x", pads=[0, 0, 1, 2, 0, 0, 0, 1], mode="reflect")], (7, 9),
        "Pad with mode reflect"),
    Dialect("pad", [node("Pad", "x", "pads", "zero")], (11, 13, 22)),
    Dialect("pad by numbers", [node("Pad", "x", "pads", "half")], (11, 22), "Pad with the value 0.5"),
    Dialect("pad some axes", [node("Pad", "x", "pads_one", "", "i2")], (18, 22)),
    Dialect("pad the channels", [node("Pad", "x", "pads_one", "", "i1")], (18, 22)),
    Dialect("crop", [node("Pad", "x", "crop")], (11, 22)),
    Dialect("pad with samples", [node("Pad", "x", "pads_batch")], (11, 22), "samples of a batch"),
    # types
    Dialect("identity", [node("Identity", "x")], ALL),
    Dialect("cast to the same", [node("Cast", "x", to=FLOAT, out="t"), node("Relu", "t")], (9, 13, 22)),
    Dialect("cast to wider", [node("Cast", "x", to=DOUBLE, out="t"), node("Relu", "t")], (13, 22)),
    Dialect("half to wider", [node("Cast", "x", to=FLOAT, out="t"), node("MatMul", "t", "float_right")], (13, 22),
        types=(HALF,)),
    Dialect("double to less", [node("Cast", "x", to=FLOAT, out="t"), node("Relu", "t")], (13, 22), "which rounds",
        types=(DOUBLE,)),
    Dialect("cast to half", [node("Cast", "x", to=HALF, out="t"), node("Cast", "t", to=FLOAT)], (9, 13, 22),
        "which rounds"),
    Dialect("cast to whole numbers", [node("Cast", "x", to=TensorProto.INT64, out="t"), node("Cast", "t", to=FLOAT)],
        (9, 13, 22), "Cast of float32 to int64"),
    Dialect("cast to truth", [node("Cast", "x", to=TensorProto.BOOL, out="t"), node("Cast", "t", to=FLOAT)],
        (9, 13, 22), "Cast of float32 to bool"),
    # one sample, no batch
    Dialect("a number", [node("Mul", "x", "half", out="t"), node("Relu", "t")], (9, 13, 22), shape=(1,), batch=None),
    Dialect("a vector", [node("MatMul", "x", "row", out="t"), node("Add", "t", "vector", out="u"), node("Relu", "u")],
        (9, 22), shape=(6,), batch=None),
    Dialect("a vector made a row", [node("Unsqueeze", "x", "i0", out="t"), node("MatMul", "t", "row")], (13, 22),
        "samples of a batch", shape=(6,), batch=None),
    Dialect("a vector made a batch", [node("Reshape", "x", "to_flat", out="t"), node("Gemm", "t", "row", "vector")],
        (13, 22), shape=(6,), batch=None),
    Dialect("a vector's end", [node("Concat", "x", "x", axis=0)], (13,), "samples of a batch", shape=(6,), batch=None),
    # what no reader knows
    Dialect("several unknown", [node("Tan", "x", out="t"), node("Sin", "t", out="u"), node("Tan", "u")], (9, 13, 22),
        "cannot be read here: Tan, Sin"),
    Dialect("known and unknown", [node("Conv", "x", "w", auto_pad="SAME_UPPER", out="t"), node("Cos", "t", out="u"),
        node("Pad", "u", pads=[0] * 8, mode="edge")], (9,), "here: Cos"),
    Dialect("several forms", [node("Conv", "x", "w", auto_pad="SAME_UPPER", out="t"),
        node("AveragePool", "t", kernel_shape=[2, 2], dilations=[2, 2], out="u"),
        node("Pad", "u", "pads", mode="edge")], (19, 22),
        "auto_pad SAME_UPPER, AveragePool with dilations [2, 2], Pad with mode edge"),
    Dialect("noise", [node("RandomNormalLike", "x", out="t"), node("Add", "x", "t")], (9, 22), "RandomNormalLike"),
    Dialect("noise alone", [node("RandomNormal", out="t", shape=[1, 2, 4, 6]), node("Add", "x", "t")], (9, 22),
        "RandomNormal of constants"),
    Dialect("an input without effect", [node("Shape", "x", out="s"), node("Cast", "s", to=FLOAT)], (9, 22),
        "does not depend"),
]  # fmt: skip


def written(dialect: Dialect, opset: int, kind: int, folder: Path, *, last: int = FLOAT) -> Path:
    """Write one network in one opset and precision."""
    used = {name for item in dialect.nodes for name in item.input}  # type: ignore[attr-defined]
    constants: dict[str, np.ndarray] = {name: value.astype(_TYPES[kind]) for name, value in FLOATS.items()}
    constants |= {name: np.array(value, dtype=np.int64) for name, value in INTEGERS.items()}
    constants |= SCALARS | {"float_right": FLOATS["right"].astype(np.float32)}
    shape = dialect.shape if dialect.batch is None else (dialect.batch, *dialect.shape)
    graph = helper.make_graph(
        list(dialect.nodes),
        "graph",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", _result(dialect, kind), None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items() if name in used],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7 if opset < 15 else 8)
    model.graph.output[0].type.tensor_type.shape.dim.add()  # the checker wants one
    checker.check_model(model)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    path = folder / "net.onnx"
    save(model, path)
    return path


def _result(dialect: Dialect, kind: int) -> int:
    """Return the output's type: the last cast's, else the input's."""
    casts = [item for item in dialect.nodes if item.op_type == "Cast"]  # type: ignore[attr-defined]
    return int(casts[-1].attribute[0].i) if casts else kind
