"""ONNX files against onnxruntime: networks as torch writes them, and single operators as other tools do."""

import os
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError, DataError
from withstand.verification.exchange.instance import Instance, write_instance
from withstand.verification.exchange.onnx_import import read_onnx
from withstand.verification.network.capture import capture
from withstand.verification.specification.verdict import Verdict

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")
DATA = Path(os.environ.get("WITHSTAND_DATA", "")) / "vnncomp"


def by_runtime(path: Path, x: Tensor) -> Tensor:
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0].name
    rows = [session.run(None, {entry: row[None].numpy()})[0] for row in x]
    return torch.from_numpy(np.concatenate(rows))


def saved(folder: Path, nodes: list[object], shape: tuple[int, ...], constants: dict[str, object], last: str) -> Path:
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    float32 = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", float32, shape)],
        [helper.make_tensor_value_info(last, float32, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path = folder / "model.onnx"
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    return path


def node(kind: str, *inputs: str, out: str = "y", **attributes: object) -> object:
    return onnx.helper.make_node(kind, list(inputs), [out], **attributes)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.LeakyReLU(0.1))
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.pool, self.head = nn.MaxPool2d(2), nn.Linear(4 * 3 * 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x = self.pool(torch.tanh(self.second(x)) + x)
        return self.head(x.flatten(1))  # type: ignore[no-any-return]


def test_a_network_that_torch_wrote_comes_back(tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Residual()
        model.first[1].running_var.uniform_(0.5, 2)
        model.eval()
    x = draw(4, 2, 6, 6)
    network, property_ = write_instance(model, x[0] - 0.1, x[0] + 0.1, 1, tmp_path)
    instance = Instance.read(network, property_)
    with torch.no_grad():
        wanted = model(x)
        assert torch.allclose(instance.network(x), wanted, atol=1e-5)
        assert torch.allclose(by_runtime(network, x), wanted, atol=1e-5)
        assert torch.allclose(capture(instance.network, x)(x).float(), wanted, atol=1e-5)
    label = int(wanted[0].argmax())
    assert instance.broken(x[0]) == (label != 1)
    assert instance.reply(Verdict("safe")) == "unsat\n"
    assert instance.reply(Verdict("unknown", reason="out of time after 3 s")) == "timeout\n"
    assert instance.reply(Verdict("unknown", reason="bounds are too loose")) == "unknown\n"
    if label != 1:
        lines = instance.reply(Verdict("unsafe", counterexample=x[0])).splitlines()
        assert lines[0] == "sat"
        assert len(lines) == 1 + 72 + 3


class Flat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(2, 4, 3, padding=1), nn.Linear(4 * 6 * 6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        return self.last(x.view(x.size(0), -1))  # type: ignore[no-any-return]


class Parts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(2, 4, 3, padding=1), nn.Linear(2 * 6 * 6, 5)

    def forward(self, x: Tensor) -> Tensor:
        one, two = torch.split(self.first(x), 2, 1)
        upper, middle, lower = torch.split(torch.relu(one - two), [1, 3, 2], 2)
        return self.last(torch.cat([lower, upper, middle], 2).flatten(1))  # type: ignore[no-any-return]


class Turned(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        samples, channels, height, width = x.shape
        x = x.reshape(samples, channels, height * width).transpose(1, 2)[:, ::3]
        return torch.softmax(self.last(x.sum(2)), 1)  # type: ignore[no-any-return]


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore")  # what the exporters say of each other
@pytest.mark.parametrize("kind", [Flat, Parts, Turned])
@pytest.mark.parametrize("new", [False, True], ids=["torchscript", "dynamo"])
@pytest.mark.parametrize("batch", [1, 2], ids=["one sample", "any batch"])
def test_both_of_torchs_exporters_are_read(kind: type[nn.Module], new: bool, batch: int, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = kind().eval()
    example, path = draw(batch, 2, 6, 6), tmp_path / "model.onnx"
    several = batch > 1
    if new:
        shapes = ({0: torch.export.Dim("batch")},) if several else None
        program = torch.onnx.export(model, (example,), dynamo=True, dynamic_shapes=shapes, verbose=False)
        assert program is not None
        program.save(str(path))
    else:
        axes = {"x": {0: "batch"}} if several else None
        torch.onnx.export(model, (example,), str(path), dynamo=False, input_names=["x"], dynamic_axes=axes)
    network, x = read_onnx(path), draw(5, 2, 6, 6, seed=1) - 0.5
    with torch.no_grad():
        wanted = model(x)
        assert torch.allclose(network(x), wanted, atol=1e-5)
        captured = capture(network, x)
        found = captured(x).softmax(1) if captured.notes else captured(x)
        assert torch.allclose(found.float(), wanted, atol=1e-5)


@pytest.mark.parametrize(
    "nodes",
    [
        lambda: [node("Conv", "x", "w", pads=[1, 0, 2, 1], strides=[2, 1])],
        lambda: [node("Conv", "x", "w", "b", dilations=[2, 2], pads=[1, 1, 1, 1])],
        lambda: [node("AveragePool", "x", kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2])],
        lambda: [node("AveragePool", "x", kernel_shape=[2, 2], count_include_pad=1, pads=[1, 1, 1, 1])],
        lambda: [node("MaxPool", "x", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)],
        lambda: [node("GlobalAveragePool", "x")],
        lambda: [node("ReduceMean", "x", axes=[2, 3], keepdims=0)],
        lambda: [node("ReduceSum", "x", "axes", keepdims=1)],
        lambda: [node("BatchNormalization", "x", "two", "two", "two", "two")],
        lambda: [node("LeakyRelu", "x", alpha=0.3), ],
        lambda: [node("Clip", "x", "zero")],
        lambda: [node("Transpose", "x", perm=[0, 2, 3, 1])],
        lambda: [node("Slice", "x", "starts", "ends", "sides")],
        lambda: [node("Gather", "x", "index", axis=1)],
        lambda: [node("Pad", "x", "pads")],
        lambda: [node("Unsqueeze", "x", "axis", out="t"), node("Squeeze", "t", "axis")],
        lambda: [node("Neg", "x", out="t"), node("Concat", "x", "t", axis=1)],
        lambda: [node("Sub", "scalar", "x", out="t"), node("Div", "t", "scalar", out="u"), node("Mul", "u", "scalar")],
        lambda: [node("Reshape", "x", "flat", out="t"), node("Gemm", "t", "m", "c", alpha=0.5, beta=2.0)],
        lambda: [node("Flatten", "x", out="t"), node("MatMul", "t", "m", out="u"), node("Sigmoid", "u")],
        lambda: [  # a shape that is computed
            node("Shape", "x", out="s"), node("Gather", "s", "zeroth", axis=0, out="n"),
            node("Concat", "n", "minus", axis=0, out="to"), node("Reshape", "x", "to", out="t"), node("Relu", "t"),
        ],
        lambda: [node("Add", "scalar", "scalar", out="k"), node("Mul", "x", "k", out="t"), node("Sum", "t", "x")],
    ],
)  # fmt: skip
def test_operators_agree_with_the_runtime(nodes: object, tmp_path: Path) -> None:
    constants: dict[str, object] = {
        "w": draw(3, 2, 3, 3, seed=1).numpy() - 0.5, "b": draw(3, seed=2).numpy(), "two": draw(2, seed=3).numpy(),
        "m": draw(60, 4, seed=4).numpy() - 0.5, "c": draw(4, seed=5).numpy(), "scalar": np.float32(1.5),
        "zero": np.float32(0), "axes": np.array([1, 3]), "starts": np.array([1, 0]), "ends": np.array([9, 3]),
        "sides": np.array([3, 2]), "index": np.array([1, -2]), "pads": np.array([0, 0, 1, 2, 0, 0, 0, 1]),
        "axis": np.array([2]), "flat": np.array([1, 60]), "zeroth": np.array([0]), "minus": np.array([-1]),
    }  # fmt: skip
    path = saved(tmp_path, nodes(), (1, 2, 5, 6), constants, "y")  # type: ignore[operator]
    x = draw(3, 2, 5, 6, seed=7) - 0.5
    network = read_onnx(path).eval()
    wanted = by_runtime(path, x)
    assert torch.allclose(network(x), wanted, atol=1e-5)
    assert torch.allclose(capture(network, x)(x).float(), wanted, atol=1e-5)


def test_what_cannot_be_read_gets_one_line(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"not an onnx file")
    for path, message in ((damaged, "is not an ONNX file"), (tmp_path / "none.onnx", "no file")):
        with pytest.raises(DataError, match=message) as raised:
            read_onnx(path)
        assert "\n" not in str(raised.value)
    whole = saved(tmp_path, [node("Relu", "x")], (1, 3), {}, "y").read_bytes()
    damaged.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="is not an ONNX file"):
        read_onnx(damaged)
    with pytest.raises(ConfigError, match=r"model\.onnx holds what cannot be read here: Tan$"):
        read_onnx(saved(tmp_path, [node("Tan", "x")], (1, 3), {}, "y"))
    with pytest.raises(DataError, match="nowhere"):
        read_onnx(saved(tmp_path, [node("Relu", "nowhere")], (1, 3), {}, "y"))
    with pytest.raises(DataError, match="batches of 7"):
        read_onnx(saved(tmp_path, [node("Relu", "x")], (7, 3), {}, "y"))
    with pytest.raises(DataError, match="MatMul 'y' does not fit"):
        read_onnx(saved(tmp_path, [node("MatMul", "x", "m")], (1, 3), {"m": np.ones((4, 2), np.float32)}, "y"))


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        (lambda: [node("ConstantOfShape", "large", out="t"), node("Add", "x", "t")], "17,179,869,184 numbers"),
        (lambda: [node("Expand", "one", "large", out="t"), node("Add", "x", "t")], "17,179,869,184 numbers"),
        (lambda: [node("Tile", "one", "large", out="t"), node("Add", "x", "t")], "17,179,869,184 numbers"),
        (lambda: [node("Range", "zero", "far", "unit", out="t"), node("Add", "x", "t")], "17,179,869,184 numbers"),
        (lambda: [node("Pad", "x", "around", out="t"), node("Relu", "t")], "numbers for one sample"),
        (lambda: [node("Reshape", "x", "column", out="t"), node("MatMul", "t", "wide")], "numbers for one sample"),
    ],
)
def test_a_small_file_cannot_ask_for_much_memory(nodes: object, message: str, tmp_path: Path) -> None:
    constants: dict[str, object] = {
        "large": np.array([1 << 17, 1 << 17]), "one": np.ones((1, 1), np.float32), "zero": np.int64(0),
        "far": np.int64(1 << 34), "unit": np.int64(1), "around": np.array([0, 1 << 28, 0, 0]),
        "column": np.array([1, 3000, 1]), "wide": np.ones((1, 9000), np.float32),
    }  # fmt: skip
    path = saved(tmp_path, nodes(), (1, 3000), constants, "y")  # type: ignore[operator]
    tracemalloc.start()
    with pytest.raises(ConfigError, match=message):
        read_onnx(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 24
    tracemalloc.stop()


def test_damaged_weights_are_told_of(tmp_path: Path) -> None:
    path = saved(tmp_path, [node("Add", "x", "m")], (1, 3), {"m": np.ones(3, np.float32)}, "y")
    model = onnx.load(path)
    whole = model.graph.initializer[0].raw_data
    for content, message in ((whole[:8], "tensor name: m"), (whole + b"more", "weight 'm' cannot be read")):
        model.graph.initializer[0].raw_data = content
        onnx.save(model, path)
        with pytest.raises(DataError, match=message):
            read_onnx(path)


def test_all_that_cannot_be_read_is_listed(tmp_path: Path) -> None:
    nodes = [node("Tan", "x", out="t"), node("Cos", "t", out="u"), node("Tan", "u", out="v"), node("Sin", "v")]
    with pytest.raises(ConfigError, match=r"cannot be read here: Tan, Cos, Sin$"):
        read_onnx(saved(tmp_path, nodes, (1, 3), {}, "y"))
    foreign = onnx.helper.make_node("Swirl", ["x"], ["y"], domain="com.example")
    path = saved(tmp_path, [node("Relu", "x")], (1, 3), {}, "y")
    model = onnx.load(path)
    del model.graph.node[:]
    model.graph.node.append(foreign)
    model.opset_import.append(onnx.helper.make_opsetid("com.example", 1))
    onnx.save(model, path)
    with pytest.raises(ConfigError, match=r"here: com\.example\.Swirl$"):
        read_onnx(path)


def test_files_that_do_not_belong_together(tmp_path: Path) -> None:
    path = saved(tmp_path, [node("Relu", "x")], (1, 3), {}, "y")
    text = "(declare-const X_0 Real)(declare-const Y_0 Real)(assert (<= X_0 1))(assert (>= X_0 0))(assert (<= Y_0 0))"
    (tmp_path / "p.vnnlib").write_text(text)
    with pytest.raises(DataError, match="takes 3 numbers"):
        Instance.read(path, tmp_path / "p.vnnlib")


def test_a_counterexample_is_replayed_before_it_is_handed_out(tmp_path: Path) -> None:
    path = saved(tmp_path, [node("Relu", "x")], (1, 2), {}, "y")
    lines = [f"(declare-const {kind}_{i} Real)" for kind in "XY" for i in range(2)]
    lines += [f"(assert (<= X_{i} 1))(assert (>= X_{i} 0))" for i in range(2)]
    (tmp_path / "p.vnnlib").write_text("\n".join([*lines, "(assert (<= Y_0 Y_1))"]))
    instance = Instance.read(path, tmp_path / "p.vnnlib")
    assert instance.reply(Verdict("unsafe", counterexample=torch.tensor([0.25, 0.5]))) == (
        "sat\n((X_0 0.25)\n(X_1 0.5)\n(Y_0 0.25)\n(Y_1 0.5))\n"
    )
    with pytest.raises(ConfigError, match="replayed"):
        instance.reply(Verdict("unsafe", counterexample=torch.tensor([0.5, 0.25])))


@pytest.mark.skipif(not DATA.is_dir(), reason="WITHSTAND_DATA holds no vnncomp")
@pytest.mark.parametrize(
    ("archive", "names"),
    [
        ("acasxu", ("ACASXU_run2a_1_1_batch_2000.onnx", "ACASXU_run2a_5_9_batch_2000.onnx")),
        ("mnistfc", ("mnist-net_256x2.onnx", "mnist-net_256x4.onnx")),
        ("oval21", ("nets/cifar_base_kw.onnx", "nets/cifar_deep_kw.onnx")),
        ("cifar10_resnet", ("onnx/resnet_2b.onnx", "onnx/resnet_4b.onnx")),
    ],
)
def test_competition_networks_agree_with_the_runtime(archive: str, names: tuple[str, ...], tmp_path: Path) -> None:
    with zipfile.ZipFile(DATA / f"{archive}.zip") as bundle:
        for name in names:
            inside = next(item for item in bundle.namelist() if item.endswith(name))
            path = Path(bundle.extract(inside, tmp_path))
            network = read_onnx(path).eval()
            x = draw(2, *network.shape)
            wanted = by_runtime(path, x)
            with torch.no_grad():
                assert torch.allclose(network(x), wanted, rtol=1e-4, atol=1e-5)
                assert torch.allclose(capture(network, x)(x).float(), wanted, rtol=1e-4, atol=1e-5)
