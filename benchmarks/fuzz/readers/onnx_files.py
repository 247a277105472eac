"""ONNX files: small networks, and such with nodes, attributes, shapes, types or weights that do not fit."""

from random import Random
from typing import Any

import numpy as np
from onnx import AttributeProto, ModelProto, TensorProto, defs, helper, numpy_helper

from benchmarks.fuzz.reader import Reader
from withstand.verification.exchange.onnx_import import read_onnx

_ENTRYWISE = ("Relu", "LeakyRelu", "Sigmoid", "Tanh", "Neg", "Identity", "Dropout", "Clip")
_KINDS = sorted({schema.name for schema in defs.get_all_schemas() if schema.domain == ""})
_SIDES = (0, 1, 2, 3, 7, -1, 1 << 20, 1 << 31, (1 << 63) - 1, -(1 << 63), 10**10)
_NUMBERS = (0.0, -1.0, 1e-40, 1e38, float("inf"), float("nan"))


def _model(draws: Random) -> ModelProto:
    """Return a network that can be read."""
    opset = draws.choice((7, 9, 11, 13, 15, 18, 20, 22))
    numbers = np.random.default_rng(draws.randrange(1 << 30))
    weights: dict[str, np.ndarray] = {}
    nodes: list[Any] = []
    last, shape = "x", draws.choice(((6,), (2, 6, 6), (3, 8, 8)))
    begin = shape

    def add(kind: str, *inputs: str, **attributes: object) -> None:
        nonlocal last
        nodes.append(helper.make_node(kind, [last, *inputs], [f"v{len(nodes)}"], **attributes))
        last = f"v{len(nodes) - 1}"

    def weight(*sides: int) -> str:
        weights[f"w{len(weights)}"] = numbers.normal(size=sides).astype(np.float32)
        return f"w{len(weights) - 1}"

    for _ in range(draws.choice((0, 1, 2, 4))):
        choice = draws.randrange(5)
        if choice == 0:
            add(draws.choice(_ENTRYWISE))
        elif choice == 1 and len(shape) == 3:
            add("Conv", weight(shape[0], shape[0], 3, 3), weight(shape[0]), pads=[1, 1, 1, 1])
        elif choice == 2 and len(shape) == 3:
            kind = draws.choice(("MaxPool", "AveragePool"))
            add(kind, kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1])
        elif choice == 3 and len(shape) == 3:
            add("BatchNormalization", *(weight(shape[0]) for _ in range(3)), weight(1))
            weights[nodes[-1].input[4]] = np.ones(shape[0], np.float32)
        else:
            add(draws.choice(("Add", "Mul", "Sub")), weight(*([1] * len(shape)), 1))
    if len(shape) == 3:
        if draws.random() < 0.5:
            add("Flatten")
        else:
            weights["to"] = np.array([draws.choice((1, 0)), -1])
            add("Reshape", "to")
    add("Gemm", weight(int(np.prod(shape)), 4), weight(4))
    nodes[-1].output[0] = "y"
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (draws.choice((1, "N")), *begin))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ("M", 4))],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def valid(draws: Random) -> bytes:
    content: bytes = _model(draws).SerializeToString()
    return content


def twisted(draws: Random) -> bytes:
    model = _model(draws)
    for _ in range(draws.choice((1, 1, 1, 2, 4))):
        _twist(model, draws)
    content: bytes = model.SerializeToString()
    return content


def _twist(model: ModelProto, draws: Random) -> None:
    graph = model.graph
    node = draws.choice(graph.node) if graph.node else None
    stored = draws.choice(graph.initializer) if graph.initializer else None
    names = [name for one in graph.node for name in (*one.input, *one.output)] + ["", "nowhere", "x", "y"]
    match draws.randrange(17):
        case 0 if node:
            node.op_type = draws.choice(_KINDS)
        case 1 if node and node.input:
            node.input[draws.randrange(len(node.input))] = draws.choice(names)
        case 2 if node:
            node.input.append(draws.choice(names))
        case 3 if node:
            node.output.append(draws.choice([*names, "new"]))
        case 4 if node:
            kind = draws.choice(
                ("axis", "axes", "perm", "pads", "strides", "kernel_shape", "group", "to", "alpha", "foo")
            )
            value = draws.choice(
                (draws.choice(_SIDES), draws.choice(_NUMBERS), [draws.choice(_SIDES)] * 4, "SAME_UPPER")
            )
            node.attribute.append(helper.make_attribute(kind, value))
        case 5 if node and node.attribute:
            attribute = draws.choice(node.attribute)
            if attribute.type == AttributeProto.INTS and attribute.ints:
                attribute.ints[draws.randrange(len(attribute.ints))] = draws.choice(_SIDES)
            elif attribute.type == AttributeProto.INT:
                attribute.i = draws.choice(_SIDES)
            else:
                attribute.f = draws.choice(_NUMBERS)
        case 6 if node:
            graph.node.remove(node)
        case 7 if node:
            graph.node.insert(draws.randrange(len(graph.node) + 1), node)
        case 8 if stored and stored.dims:
            stored.dims[draws.randrange(len(stored.dims))] = draws.choice(_SIDES)
        case 9 if stored:
            stored.data_type = draws.randrange(25)
        case 10 if stored:
            stored.raw_data = stored.raw_data[: draws.randrange(len(stored.raw_data) + 1)]
        case 11 if stored:
            value = np.full(draws.choice(((1,), (4,), (2, 2))), draws.choice(_NUMBERS), np.float32)
            stored.CopyFrom(numpy_helper.from_array(value, stored.name))
        case 12:
            side = draws.choice((graph.input, graph.output))[0].type.tensor_type.shape.dim
            if side:
                side[draws.randrange(len(side))].dim_value = draws.choice(_SIDES)
        case 13:
            draws.choice((graph.input, graph.output))[0].type.tensor_type.elem_type = draws.randrange(25)
        case 14:
            model.opset_import[0].version = draws.choice((-1, 0, 1, 6, 7, 12, 17, 23, 26, 99, 1 << 40))
        case 15:  # sizes that files only name: constants made large by other constants
            _large(graph, draws)
        case _ if stored:
            stored.data_location = TensorProto.EXTERNAL
            for key, text in (
                ("location", draws.choice(("/etc/passwd", "../a", "", "b" * 5000))),
                ("length", "99999999999"),
            ):
                stored.external_data.add(key=key, value=text)


def _large(graph: Any, draws: Random) -> None:
    """Put before the first node something that makes much of little."""
    side = draws.choice((1 << 12, 1 << 20, 1 << 28, 1 << 34))
    graph.initializer.append(numpy_helper.from_array(np.array([side, draws.choice((1, 8))]), "sides"))
    kind = draws.choice(("ConstantOfShape", "Expand", "Tile", "Range", "Pad", "EyeLike", "OneHot", "Resize"))
    zero = numpy_helper.from_array(np.zeros((1, 1), np.float32), "zero")
    graph.initializer.append(zero)
    inputs = {"ConstantOfShape": ["sides"], "Range": ["zero", "sides", "zero"]}.get(kind, ["zero", "sides"])
    if draws.random() < 0.5 and kind in ("Expand", "Tile", "Pad"):
        inputs[0] = "x"
    graph.node.insert(0, helper.make_node(kind, inputs, ["large"]))
    graph.node.append(helper.make_node("Add", [graph.node[-1].output[0], "large"], ["y2"]))


READER = Reader(".onnx", valid, twisted, read_onnx, allowance=512 << 20)
