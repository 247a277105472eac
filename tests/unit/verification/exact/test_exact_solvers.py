"""z3, the mixed-integer program and brute force over the linear pieces must agree on every small network."""

import time
from importlib.util import find_spec
from itertools import pairwise, product

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import Tensor, nn

from withstand.core.errors import ConfigError, DataError
from withstand.verification.exact.milp import solve_milp
from withstand.verification.exact.question import Question
from withstand.verification.exact.smt import Z3, smt_text, solve_smt, z3_process
from withstand.verification.network.activation import MaxPool2d, ReLU, Tanh
from withstand.verification.network.capture import capture
from withstand.verification.network.network import Network, sequential
from withstand.verification.network.operation import Conv2d, Linear, Rearrange

needs_z3 = pytest.mark.skipif(find_spec("z3") is None, reason="z3-solver is not installed: the extra 'certify'")


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def short(*shape: int, seed: int) -> Tensor:
    """Draw numbers with few digits, so that rationals stay small."""
    return normal(*shape, seed=seed).mul(64).round() / 64


def dense(seed: int, sizes: tuple[int, ...] = (2, 3, 2, 3), slope: float = 0.0) -> Network:
    operations: list[object] = []
    for place, (narrow, wide) in enumerate(pairwise(sizes)):
        weight = short(wide, narrow, seed=100 * seed + 2 * place)
        bias = short(wide, seed=100 * seed + 2 * place + 1) / 2
        operations += [Linear(weight=weight, bias=bias), ReLU(slope)]
    return sequential((sizes[0],), operations[:-1])  # type: ignore[arg-type]


def question(seed: int, eps: float, slope: float = 0.0) -> Question:
    network = dense(seed, slope=slope)
    center = normal(2, seed=seed + 7).mul(8).round() / 16
    label = int(network(center[None]).argmax())
    return Question.wins(network, center - eps, center + eps, label)


def least_by_pieces(asked: Question, slope: float) -> float:
    """Return the least margin over the box: each pattern of the ReLUs is a linear program."""
    layers = [node.operation for node in asked.network.nodes if isinstance(node.operation, Linear)]
    hidden = [len(layer.weight) for layer in layers[:-1]]
    least = np.inf
    for pattern in product((0, 1), repeat=sum(hidden)):
        matrix, shift = np.eye(asked.low.numel()), np.zeros(asked.low.numel())
        sides, limits, used = [], [], 0
        for place, layer in enumerate(layers):
            assert layer.bias is not None
            matrix, shift = layer.weight.numpy() @ matrix, layer.weight.numpy() @ shift + layer.bias.numpy()
            if place < len(hidden):
                active = np.array(pattern[used : used + hidden[place]])
                used += hidden[place]
                sign = np.where(active, -1.0, 1.0)
                sides.append(sign[:, None] * matrix)
                limits.append(-sign * shift)
                factor = np.where(active, 1.0, slope)
                matrix, shift = factor[:, None] * matrix, factor * shift
        for polytope in asked.unsafe:
            weight = polytope.weight[0].numpy()
            found = linprog(
                weight @ matrix,
                np.concatenate(sides),
                np.concatenate(limits),
                bounds=np.stack([asked.low.numpy(), asked.high.numpy()], 1),
            )
            if found.status == 0:
                least = min(least, found.fun + weight @ shift - float(polytope.bound[0]))
    return float(least)


@pytest.mark.thorough
@needs_z3
def test_solvers_agree_on_hundreds_of_networks() -> None:
    seen = {"safe": 0, "unsafe": 0}
    with z3_process() as process:
        for seed in range(100):
            for eps in (1 / 16, 1 / 2):
                asked = question(seed, eps)
                by_milp, by_z3 = solve_milp(asked), solve_smt(asked, process=process)
                assert by_milp.status == by_z3.status
                assert by_milp.status != "unknown"
                seen[by_milp.status] += 1
                for verdict in (by_milp, by_z3):
                    if verdict.counterexample is not None:
                        x = verdict.counterexample
                        assert bool(((x >= asked.low) & (x <= asked.high)).all())
                        output = asked.network(x[None])
                        assert min(float(one.excess(output)) for one in asked.unsafe) <= 0
    assert min(seen.values()) > 20


@pytest.mark.parametrize("slope", [0.0, 0.25])
def test_the_program_agrees_with_all_linear_pieces(slope: float) -> None:
    for seed in range(5):
        asked = question(seed, 1 / 4, slope)
        least, found = least_by_pieces(asked, slope), solve_milp(asked)
        assert found.status == ("safe" if least > 0 else "unsafe")
        if found.status == "safe":
            assert 0 < found.margin <= least + 1e-12


def solvers(asked: Question, process: Z3 | None) -> list[str]:
    found = [solve_milp(asked).status]
    return found if process is None else [*found, solve_smt(asked, process=process).status]


@needs_z3
def test_leaky_units_maxima_and_convolutions() -> None:
    conv = Conv2d(weight=short(1, 1, 2, 2, seed=1), bias=short(1, 1, 1, seed=2))
    head = Linear(weight=short(3, 4, seed=3), bias=short(3, seed=4))
    operations = [conv, ReLU(), MaxPool2d((2, 2), (1, 1)), Rearrange(shape=(4,)), head]
    network = sequential((1, 4, 4), operations)
    x = short(1, 4, 4, seed=5)
    label = int(network(x[None]).argmax())
    statuses = set()
    with z3_process() as process:
        for eps in (1 / 128, 1 / 2, 4.0):
            found = solvers(Question.wins(network, x - eps, x + eps, label), process)
            assert len(set(found)) == 1
            statuses |= set(found)
        assert statuses == {"safe", "unsafe"}
        for seed in range(10):
            assert len(set(solvers(question(seed, 0.25, 0.25), process))) == 1


@needs_z3
@pytest.mark.parametrize("slope", [-1.0, -0.25, 0.5, 1.0])
def test_units_of_any_slope_are_encoded(slope: float) -> None:
    statuses = set()
    with z3_process() as process:
        for seed in range(8):
            first = Linear(weight=short(4, 2, seed=seed), bias=short(4, seed=seed + 50))
            head = Linear(weight=short(2, 4, seed=seed + 100), bias=short(2, seed=seed + 150))
            network = sequential((2,), [first, ReLU(slope), head])
            x = short(2, seed=seed + 200)
            label = int(network(x[None]).argmax())
            eps = (0.125, 0.5, 1.0)[seed % 3]
            found = solvers(Question.wins(network, x - eps, x + eps, label), process)
            assert len(set(found)) == 1, (seed, found)
            line = torch.linspace(-eps, eps, 41, dtype=torch.float64)
            values = network(x + torch.cartesian_prod(line, line))
            broken = bool((values.argmax(1) != label).any())
            assert not (broken and found[0] == "safe"), seed
            statuses |= set(found)
    assert statuses == {"safe", "unsafe"}


@needs_z3
def test_a_linear_network_flips_at_its_exact_radius() -> None:
    weight, bias = normal(3, 4, seed=1), normal(3, seed=2)
    network = sequential((4,), [Linear(weight=weight, bias=bias)])
    x = normal(4, seed=3)
    output = network(x[None])[0]
    label = int(output.argmax())
    rivals = [rival for rival in range(3) if rival != label]
    exact = min(float((output[label] - output[j]) / (weight[label] - weight[j]).abs().sum()) for j in rivals)
    with z3_process() as process:
        for factor, wanted in ((0.999, "safe"), (1.001, "unsafe")):
            asked = Question.wins(network, x - factor * exact, x + factor * exact, label)
            assert solvers(asked, process) == [wanted, wanted]


def test_no_radius_dead_networks_and_permuted_units() -> None:
    asked = question(3, 0.0)
    assert solve_milp(asked).status == "safe"
    dead = sequential((2,), [Linear(weight=torch.zeros(3, 2), bias=torch.tensor([1.0, 0.5, 0.0]))])
    everywhere = Question.wins(dead, torch.full((2,), -9.0).double(), torch.full((2,), 9.0).double(), 0)
    assert solve_milp(everywhere).status == "safe"
    assert solve_milp(everywhere).margin == pytest.approx(0.5, abs=1e-3)
    for seed in range(6):
        asked = question(seed, 0.25)
        first, _, second = (node.operation for node in asked.network.nodes[1:4])
        assert isinstance(first, Linear)
        assert isinstance(second, Linear)
        assert first.bias is not None
        order = torch.tensor([2, 0, 1])
        factor = torch.tensor([2.0, 0.5, 4.0], dtype=torch.float64)
        moved = [
            Linear(weight=(factor[:, None] * first.weight)[order], bias=(factor * first.bias)[order]), ReLU(),
            Linear(weight=(second.weight / factor)[:, order], bias=second.bias),
            *(node.operation for node in asked.network.nodes[4:]),
        ]  # fmt: skip
        other = Question(sequential((2,), moved), asked.low, asked.high, asked.unsafe, asked.network)
        assert solve_milp(other).status == solve_milp(asked).status


@needs_z3
def test_time_is_kept_and_said() -> None:
    network = dense(1, (6, 24, 24, 3))
    x = normal(6, seed=1)
    asked = Question.wins(network, x - 0.3, x + 0.3, int(network(x[None]).argmax()))
    start = time.monotonic()
    found = solve_smt(asked, timeout=0.05)
    assert time.monotonic() - start < 10
    if found.status == "unknown":
        assert "out of time" in found.reason
    for solve in (solve_milp, solve_smt):
        with pytest.raises(ConfigError, match="timeout must be positive"):
            solve(asked, timeout=0)


def test_a_point_is_shown_to_the_real_network_in_its_own_precision() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    x = torch.tensor([[0.1, 0.2, 0.7]])
    network = capture(model, x)
    low, high = x[0].double() - 0.3, x[0].double() + 0.3
    asked = Question.wins(network, low, high, int(model(x).argmax()), model=model, dtype=torch.float32)
    shown, _ = asked.replayed(high + 1)
    assert shown.dtype == torch.float32
    assert bool((shown.double() <= high).all())
    found = solve_milp(asked)
    if found.counterexample is not None:
        assert found.counterexample.dtype == torch.float32
    assert "(/ " in smt_text(asked)


def test_what_has_no_exact_encoding_is_said() -> None:
    network = sequential((2,), [Tanh(), Linear(weight=normal(2, 2, seed=1))])
    asked = Question.wins(network, torch.zeros(2).double(), torch.ones(2).double(), 0)
    with pytest.raises(ConfigError, match=r"Tanh .* has no exact encoding"):
        solve_milp(asked)
    with pytest.raises(ConfigError, match=r"Tanh .* has no exact encoding"):
        smt_text(asked)
    with pytest.raises(DataError, match="low must be float64"):
        Question(network, torch.zeros(3).double(), torch.ones(3).double(), (), network)
