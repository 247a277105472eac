"""Instances answered: what is claimed holds for onnxruntime on the file itself."""

import gzip
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper, save

from unit.verification.onnx_dialects import DIALECTS, FLOAT, node, written
from withstand.core.errors import ConfigError
from withstand.verification.exchange import onnx_operators
from withstand.verification.exchange.instance import Instance, write_instance
from withstand.verification.exchange.onnx_import import read_onnx
from withstand.verification.exchange.probabilities import on_inputs
from withstand.verification.exchange.solve import solve
from withstand.verification.exchange.specification import Case, Polytope
from withstand.verification.specification.verdict import Verdict


def asked(folder: Path, low: list[float], high: list[float], outputs: int, said: str) -> Path:
    lines = [f"(declare-const X_{place} Real)" for place in range(len(low))]
    lines += [f"(declare-const Y_{place} Real)" for place in range(outputs)]
    lines += [
        f"(assert (>= X_{place} {least!r}))(assert (<= X_{place} {most!r}))"
        for place, (least, most) in enumerate(zip(low, high, strict=True))
    ]
    path = folder / "asked.vnnlib"
    path.write_text("\n".join([*lines, said]), encoding="utf-8")
    return path


def net(
    folder: Path, nodes: list[object], inputs: int, constants: dict[str, object], kind: int = FLOAT, opset: int = 13
) -> Path:
    dtype = {TensorProto.FLOAT: np.float32, TensorProto.FLOAT16: np.float16, TensorProto.DOUBLE: np.float64}[kind]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", kind, (1, inputs))],
        [helper.make_tensor_value_info("y", kind, ("N", "K"))],
        [numpy_helper.from_array(np.asarray(value, dtype=dtype), name) for name, value in constants.items()],
    )
    path = folder / "net.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)
    return path


SOFTMAX = [node("MatMul", "x", "w", out="m"), node("Add", "m", "b", out="l"), node("Softmax", "l", axis=1)]


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("(assert (<= Y_0 0.9))", "sat"),  # both probabilities are one half, everywhere
        ("(assert (>= Y_0 0.9))", "unsat"),
        ("(assert (<= Y_0 0.1))", "unsat"),
        ("(assert (and (>= Y_0 0.4) (<= Y_1 0.6)))", "sat"),
        ("(assert (or (>= Y_0 0.6) (>= Y_1 0.6)))", "unsat"),
        ("(assert (<= Y_0 Y_1))", "sat"),
        ("(assert (<= Y_0 1.5))", "sat"),
        ("(assert (<= Y_0 -0.5))", "unsat"),
        ("(assert (>= Y_0 1.5))", "unsat"),
    ],
)
@pytest.mark.parametrize("opset", [11, 13])
def test_probabilities_are_judged_as_such(said: str, answer: str, opset: int, tmp_path: Path) -> None:
    path = net(tmp_path, SOFTMAX, 1, {"w": [[1, 1]], "b": [3, 3]}, opset=opset)
    instance = Instance.read(path, asked(tmp_path, [0.0], [1.0], 2, said))
    assert instance.reply(solve(instance, timeout=10)).split()[0] == answer


def test_probabilities_that_cannot_be_bounded_are_refused(tmp_path: Path) -> None:
    path = net(tmp_path, SOFTMAX, 1, {"w": [[1, 2, 3]], "b": [3, 2, 1]})
    for said in ("(<= (+ Y_0 Y_1) 0.1)", "(<= (- Y_0 Y_1) -0.99)"):
        instance = Instance.read(path, asked(tmp_path, [0.0], [1.0], 3, f"(assert {said})"))
        with pytest.raises(ConfigError, match="compares probabilities"):
            solve(instance, timeout=10)


def test_differences_of_log_probabilities_are_those_of_logits(tmp_path: Path) -> None:
    nodes = [*SOFTMAX[:2], node("LogSoftmax", "l", axis=1)]
    path = net(tmp_path, nodes, 1, {"w": [[1, 2, 3]], "b": [3, 2, 1]})  # logits x + 3, 2 x + 2, 3 x + 1
    for bound, answer in ((0.5, "sat"), (-0.01, "unsat")):
        said = f"(assert (<= (- Y_0 Y_1) {bound}))"
        instance = Instance.read(path, asked(tmp_path, [0.0], [0.75], 3, said))
        assert instance.reply(solve(instance, timeout=10)).split()[0] == answer


@settings(max_examples=300, deadline=None)
@given(
    logits=st.lists(st.floats(-30, 30), min_size=2, max_size=6),
    place=st.integers(0, 5),
    limit=st.one_of(st.sampled_from([0.0, 1.0, 0.5, -1.0, 2.0]), st.floats(0, 1), st.floats(-20, 1)),
    sign=st.sampled_from([1.0, -2.0]),
    head=st.sampled_from(["softmax", "log-softmax"]),
)
def test_what_is_asked_of_logits_holds_wherever_it_does_of_probabilities(
    logits: list[float], place: int, limit: float, sign: float, head: str
) -> None:
    inputs = torch.tensor([logits], dtype=torch.float64)
    found = inputs.softmax(1) if head == "softmax" else inputs.log_softmax(1)
    place %= len(logits)
    weight = torch.zeros(1, len(logits), dtype=torch.float64)
    weight[0, place] = sign
    asked_ = Polytope(weight, torch.tensor([sign * limit], dtype=torch.float64))
    box = torch.zeros(1, dtype=torch.float64)
    case = on_inputs(Case(box, box, (asked_,)), head, 2.0**-23)  # type: ignore[arg-type]
    inside = any(float(polytope.excess(inputs)) <= 0 for polytope in case.unsafe)
    if float(asked_.excess(found)) <= 0:
        assert inside
    elif len(logits) == 2 and abs(float(asked_.excess(found))) > 1e-4 * (1 + abs(limit)):
        assert not inside  # for two classes nothing is lost


def test_a_limit_met_by_one_of_many_classes_is_proven(tmp_path: Path) -> None:
    path = net(tmp_path, SOFTMAX, 1, {"w": [[1, 0, 0, 0]], "b": [6, 0, 0, 0]})
    least = math.exp(6) / (math.exp(6) + 3)
    for limit, answer in ((least - 1e-3, "unsat"), (least + 1e-3, "sat")):
        instance = Instance.read(path, asked(tmp_path, [0.0], [1.0], 4, f"(assert (<= Y_0 {limit}))"))
        assert instance.reply(solve(instance, timeout=10)).split()[0] == answer


class Ends(nn.Module):
    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(3, 3), head
        with torch.no_grad():
            self.layer.weight.copy_(torch.eye(3))
            self.layer.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x))  # type: ignore[no-any-return]


@pytest.mark.thorough
def test_a_margin_is_one_of_logits(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    low, high = torch.tensor([2.0, 0.0, 0.0]), torch.tensor([3.0, 0.5, 0.5])
    for head in (nn.Identity(), nn.LogSoftmax(1), nn.Softmax(1)):
        model = Ends(head).eval()
        instance = Instance.read(*write_instance(model, low, high, 0, tmp_path))
        assert solve(instance, timeout=10).status == "safe"
        if isinstance(head, nn.Softmax):
            with pytest.raises(ConfigError, match="a margin of 1 is one of logits"):
                write_instance(model, low, high, 0, tmp_path, margin=1.0)
            continue
        for margin, status in ((1.4, "safe"), (1.6, "unsafe")):
            instance = Instance.read(*write_instance(model, low, high, 0, tmp_path, margin=margin))
            assert solve(instance, timeout=10).status == status
    double = Ends(nn.Identity()).double().eval()
    assert Instance.read(*write_instance(double, low, high, 0, tmp_path)).network.dtype == torch.float64


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16])
def test_inputs_fixed_at_decimals_have_counterexamples(kind: int, tmp_path: Path) -> None:
    # 0.1 and 0.15 lie between two numbers of every binary precision.
    path = net(tmp_path, [node("Relu", "x", out="t"), node("MatMul", "t", "w")], 3, {"w": np.eye(3)}, kind)
    fixed = [0.1, 0.15, 0.25]
    instance = Instance.read(path, asked(tmp_path, fixed, fixed, 3, "(assert (<= Y_0 Y_1))"))
    verdict = solve(instance, timeout=10)
    assert verdict.status == "unsafe", verdict.reason
    point = verdict.counterexample
    assert point is not None
    precision = {TensorProto.FLOAT: "float32", TensorProto.DOUBLE: "float64", TensorProto.FLOAT16: "float16"}[kind]
    assert f"a counterexample in {precision}, for onnxruntime" in verdict.reason
    assert ("inputs leave the box by" in verdict.reason) == (kind != TensorProto.DOUBLE)
    assert torch.equal(point.flatten(), torch.tensor(fixed, dtype=torch.float64).to(point.dtype))
    assert instance.reply(verdict).startswith(f"sat\n((X_0 {point.flatten()[0].item()!r})\n")


def test_a_search_finds_them_too(tmp_path: Path) -> None:
    # The middle input alone is free, and 64 points miss the narrow dip of y at 0.3141.
    constants = {"w": [[1, -1], [-1, 1], [0, 0]], "b": [-0.2141, 0.2141 + 0.0], "s": [[-1], [-1]], "m": [0.00001]}
    nodes = [
        node("MatMul", "x", "w", out="t"), node("Sub", "t", "b", out="u"), node("Relu", "u", out="r"),
        node("MatMul", "r", "s", out="v"), node("Neg", "v", out="n"), node("Sub", "n", "m"),
    ]  # fmt: skip  # y = |x_0 - x_1 + 0.2141| - 1e-5, and so below 0 round x_1 = 0.3141
    path = net(tmp_path, nodes, 3, constants)
    instance = Instance.read(path, asked(tmp_path, [0.1, 0.0, 0.3], [0.1, 1.0, 0.3], 1, "(assert (<= Y_0 0))"))
    verdict = solve(instance, timeout=20)
    assert verdict.status == "unsafe"
    assert verdict.method != "sampling"
    assert "inputs leave the box by" in verdict.reason


def test_rounding_beyond_what_is_allowed_is_said(tmp_path: Path) -> None:
    path = net(tmp_path, [node("Relu", "x", out="t"), node("MatMul", "t", "w")], 1, {"w": [[1]]}, TensorProto.FLOAT16)
    instance = Instance.read(path, asked(tmp_path, [1000.3], [1000.3], 1, "(assert (>= Y_0 1))"))
    verdict = solve(instance, timeout=5)
    assert verdict.status == "unknown"
    assert "no number within 0.0001 of the inputs" in verdict.reason
    assert instance.reply(verdict) == "unknown\n"


def test_what_is_allowed_to_rounding_is_allowed_to_nothing_else(tmp_path: Path) -> None:
    path = net(tmp_path, [node("Relu", "x")], 2, {})
    instance = Instance.read(path, asked(tmp_path, [0.5, 0.1], [1.0, 0.1], 2, "(assert (<= Y_0 0.5))"))
    fixed = torch.tensor(0.1)
    for first, second, answer in (
        (0.5, fixed, True),
        (0.49999, fixed, False),  # float32 has numbers in the box: there is no need to leave it
        (0.5, fixed.nextafter(torch.tensor(1.0)), False),  # not the nearest
        (0.75, fixed, False),
    ):
        assert instance.broken(torch.tensor([first, float(second)])) == answer


def test_packed_files_are_answered_as_plain_ones(tmp_path: Path) -> None:
    path = net(tmp_path, [node("Relu", "x")], 2, {})
    said = asked(tmp_path, [0.5, 0.0], [1.0, 0.25], 2, "(assert (<= Y_0 Y_1))")
    for file in (path, said):
        file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
    instance = Instance.read(f"{path}.gz", f"{said}.gz")
    assert solve(instance, timeout=5).status == "safe"


def test_an_instance_of_one_number(tmp_path: Path) -> None:
    (dialect,) = [one for one in DIALECTS if one.name == "a number"]
    path = written(dialect, 13, FLOAT, tmp_path)
    for said, answer in (("(assert (<= Y_0 0.2))", "unsat"), ("(assert (<= Y_0 0.3))", "sat")):
        instance = Instance.read(path, asked(tmp_path, [0.5], [1.0], 1, said))
        assert instance.reply(solve(instance, timeout=5)).split()[0] == answer


WRONG = {
    "LeakyRelu": ("leaky relu", lambda attributes, inputs: nn.functional.leaky_relu(inputs[0], 0.0101)),
    "Tanh": ("tanh", lambda attributes, inputs: inputs[0].tanh() * (1 + 1e-5)),
    "ReduceMean": ("mean, new", lambda attributes, inputs: inputs[0].sum((2, 3), keepdim=True)),
    "Pad": ("pad the channels", lambda attributes, inputs: nn.functional.pad(inputs[0], (0, 0, 0, 0, 2, 1))),
    "Transpose": ("transpose", lambda attributes, inputs: inputs[0].permute(0, 3, 2, 1).reshape(-1, 4, 6, 2)),
    "BatchNormalization": ("batch norm", lambda attributes, inputs: nn.functional.batch_norm(
        inputs[0], inputs[3], inputs[4], inputs[1], inputs[2], eps=1e-4)),
    "Split": ("split in halves", lambda attributes, inputs: list(inputs[0].split(1, 1))[::-1]),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_a_reader_that_is_wrong_is_caught(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, run = WRONG[kind]
    dialect = next(one for one in DIALECTS if one.name == name)
    path = written(dialect, dialect.opsets[-1], FLOAT, tmp_path)
    read_onnx(path)
    monkeypatch.setitem(onnx_operators.OPERATORS, kind, replace(onnx_operators.OPERATORS[kind], run=run))
    with pytest.raises(ConfigError, match="was not read as onnxruntime runs it"):
        read_onnx(path)


def test_a_difference_within_the_box_alone_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = net(tmp_path, [node("Relu", "x")], 2, {})
    clipped = replace(onnx_operators.OPERATORS["Relu"], run=lambda attributes, inputs: inputs[0].clamp(0, 2.5))
    monkeypatch.setitem(onnx_operators.OPERATORS, "Relu", clipped)
    read_onnx(path)  # on [-2, 2] all is well
    said = asked(tmp_path, [2.4, 0.0], [2.6, 0.5], 2, "(assert (<= Y_0 Y_1))")
    with pytest.raises(ConfigError, match="nothing is claimed"):
        Instance.read(path, said)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE])
@pytest.mark.parametrize("activation", ["Relu", "Tanh", "Sigmoid"])
def test_rounding_is_no_other_function(kind: int, activation: str, tmp_path: Path) -> None:
    draws = np.random.default_rng(kind)
    largest = 2.0 if kind == TensorProto.FLOAT16 else 100.0
    for depth, width, scale in ((1, 4, 0.1), (3, 64, 3.0), (6, 256, 1.0), (8, 32, largest)):
        nodes, constants, name, size = [], {}, "x", 8
        for layer in range(depth):
            constants[f"w{layer}"] = draws.normal(size=(size, width)) * scale / size**0.5
            constants[f"b{layer}"] = draws.normal(size=width) * scale
            nodes += [node("Gemm", name, f"w{layer}", f"b{layer}", out=f"h{layer}")]
            nodes += [node(activation, f"h{layer}", out=f"a{layer}")]
            name, size = f"a{layer}", width
        constants["last"] = draws.normal(size=(size, 3)) * scale / size**0.5
        path = net(tmp_path, [*nodes, node("MatMul", name, "last")], 8, constants, kind)
        for low, high in ((-1.0, 1.0), (0.3, 0.3), (-50.0, 50.0)):
            if kind != TensorProto.FLOAT16 or high < 50:
                Instance.read(path, asked(tmp_path, [low] * 8, [high] * 8, 3, "(assert (<= Y_0 Y_1))"))


def test_words_of_a_reply(tmp_path: Path) -> None:
    path = net(tmp_path, [node("Relu", "x")], 2, {})
    instance = Instance.read(path, asked(tmp_path, [0.0, 0.0], [1.0, 1.0], 2, "(assert (<= Y_0 Y_1))"))
    for reason, said in (
        ("time-out after 3 s: 5 boxes looked at, 2 open", "timeout"),
        ("out of time after 3 s, before every case was looked at", "timeout"),
        ("what was found is no counterexample for onnxruntime", "unknown"),
    ):
        assert instance.reply(Verdict("unknown", reason=reason)) == f"{said}\n"
