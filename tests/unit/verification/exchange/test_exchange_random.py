"""Random networks and properties, written as files and answered: nothing that onnxruntime gives may contradict."""

import os
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper, save

from unit.verification.onnx_dialects import node
from withstand.verification.exchange.instance import Instance
from withstand.verification.exchange.onnx_import import read_both
from withstand.verification.exchange.onnx_runtime import points
from withstand.verification.exchange.solve import solve
from withstand.verification.exchange.specification import Case, Polytope, Specification
from withstand.verification.exchange.vnnlib_write import write_vnnlib

COUNT = int(os.environ.get("WITHSTAND_INSTANCES", "80"))
TYPES = {TensorProto.FLOAT: np.float32, TensorProto.FLOAT16: np.float16, TensorProto.DOUBLE: np.float64}


def written(draws: Random, folder: Path) -> tuple[Path, tuple[int, ...], int]:
    """Write a network and return its file, a sample's shape, and how many outputs it has."""
    numbers = np.random.default_rng(draws.randrange(1 << 30))
    kind = draws.choice((TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.FLOAT16))
    opset = draws.choice((9, 11, 13, 17, 18, 21, 22))
    weights: dict[str, np.ndarray] = {}
    nodes: list[object] = []
    shape: tuple[int, ...] = draws.choice(((2,), (5,), (1, 3, 4), (2, 4, 4)))
    begin, last = shape, "x"

    def put(kind_: str, *inputs: str, first: bool = True, **attributes: object) -> None:
        nonlocal last
        nodes.append(node(kind_, *([last] if first else []), *inputs, out=f"v{len(nodes)}", **attributes))
        last = f"v{len(nodes) - 1}"

    def weight(value: object, whole: bool = False) -> str:
        name = f"w{len(weights)}"
        weights[name] = np.asarray(value, np.int64 if whole else TYPES[kind])
        return name

    scale = draws.choice((0.3, 1.0, 3.0))
    for _ in range(draws.choice((1, 2, 3))):
        channels = shape[0]
        if len(shape) == 3:
            match draws.randrange(5):
                case 0:
                    kernel, bias = numbers.normal(size=(3, channels, 3, 3)) * scale, numbers.normal(size=3)
                    put("Conv", weight(kernel), weight(bias), pads=draws.choice(([1, 1, 1, 1], [1, 0, 1, 2])))
                    shape = (3, *shape[1:])
                case 1:
                    statistics = [numbers.normal(size=channels) for _ in range(3)]
                    put("BatchNormalization", *map(weight, statistics), weight(numbers.uniform(0.5, 2, channels)))
                case 2:
                    put("MaxPool", kernel_shape=[2, 2], pads=[0, 0, 0, 0])
                    shape = (channels, shape[1] - 1, shape[2] - 1)
                case 3:
                    before = last
                    put("Neg")
                    put("Concat", before, axis=1)
                    shape = (2 * channels, *shape[1:])
                case _:
                    put("AveragePool", kernel_shape=[2, 2], count_include_pad=draws.randrange(2), pads=[1, 1, 1, 1])
                    shape = (channels, shape[1] + 1, shape[2] + 1)
        if draws.random() < 0.6:
            put(draws.choice(("Relu", "Relu", "LeakyRelu", "Tanh", "Sigmoid")))
        else:
            put(draws.choice(("Abs", "Elu", "Selu", "Softplus", "Softsign", "HardSigmoid", "Exp")))
        if min(shape[1:], default=2) < 2:
            break
    if len(shape) == 3:
        put("Flatten")
    for _ in range(draws.choice((0, 1, 2))):
        put("Gemm", weight(numbers.normal(size=(int(np.prod(shape)), 6)) * scale), weight(numbers.normal(size=6)))
        put("Relu")
        shape = (6,)
    outputs = draws.choice((1, 2, 3))
    put("Gemm", weight(numbers.normal(size=(int(np.prod(shape)), outputs))), weight(numbers.normal(size=outputs)))
    head = draws.choice(("", "", "Softmax", "LogSoftmax")) if outputs > 1 else ""
    if head:
        put(head, axis=1)
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", kind, (draws.choice((1, "N")), *begin))],
        [helper.make_tensor_value_info(last, kind, ("M", outputs))],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    path = folder / "net.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)
    return path, begin, outputs


def asked(draws: Random, path: Path, shape: tuple[int, ...], outputs: int, folder: Path) -> Instance:
    """Return the network with a property whose limit lies near what onnxruntime gives in the box."""
    size = int(np.prod(shape))
    # Fixed inputs at decimals lie between float16's numbers, too far for a counterexample.
    decimals = read_both(path)[0].dtype != torch.float16
    low = torch.tensor([draws.randrange(-64, 64) / (100 if decimals else 64) for _ in range(size)], dtype=torch.float64)
    width = torch.tensor([draws.choice((0.0, 0.1, 0.5)) for _ in range(size)], dtype=torch.float64)
    nothing = Polytope(torch.ones(1, outputs, dtype=torch.float64), torch.tensor([-1e9], dtype=torch.float64))

    def instance(unsafe: tuple[Polytope, ...]) -> Instance:
        said = folder / "asked.vnnlib"
        said.write_text(write_vnnlib(Specification(size, outputs, (Case(low, low + width, unsafe),))))
        return Instance.read(path, said)

    y = instance((nothing,)).y.double()
    weight = torch.zeros(1, outputs, dtype=torch.float64)
    ranking = outputs > 1 and draws.random() < 0.5
    if ranking:
        first, second = draws.sample(range(outputs), 2)
        weight[0, first], weight[0, second] = 1.0, -1.0
        return instance((Polytope(weight, torch.zeros(1, dtype=torch.float64)),))
    weight[0, draws.randrange(outputs)] = draws.choice((1.0, -1.0))
    values = (y @ weight.T).flatten()
    limit = values.min() + draws.choice((-0.5, -0.05, -1e-6, 0.0, 0.01)) * (values.max() - values.min() + 1e-3)
    return instance((Polytope(weight, limit[None]),))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(COUNT))
def test_no_answer_is_contradicted(seed: int, tmp_path: Path) -> None:
    draws = Random(seed)
    path, shape, outputs = written(draws, tmp_path)
    instance = asked(draws, path, shape, outputs, tmp_path)
    verdict = solve(instance, timeout=1)
    (case,) = instance.specification.cases
    if verdict.status == "unsafe":
        assert verdict.counterexample is not None
        assert instance.broken(verdict.counterexample)
        assert instance.reply(verdict).startswith("sat\n")
    elif verdict.status == "safe":
        x = points(case.low, case.high, instance.network.dtype, count=3000, seed=1).view(-1, *shape)
        broken = [float(one.excess(instance.runtime(x)).min()) for one in case.unsafe]
        assert min(broken) > 0
