import pytest
import torch
from torch import Tensor

from unit.verification.random_networks import network, points
from withstand.core.errors import ConfigError
from withstand.verification.bounds.interval import Box
from withstand.verification.bounds.rounding import proven
from withstand.verification.network.network import Network
from withstand.verification.search import relu_split
from withstand.verification.search.branch_and_bound import decide
from withstand.verification.search.input_split import search_inputs
from withstand.verification.search.relu_split import search_relus
from withstand.verification.specification.box import Region
from withstand.verification.specification.property import Property


def region(net: Network, seed: int, eps: float) -> Region:
    x = torch.rand(1, *net.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return Region.box((x - eps).clamp_min(0), (x + eps).clamp_max(1))


def wanted_of(net: Network, region: Region) -> Property:
    return Property.margins(int(net((region.low + region.high) / 2).argmax()), net.classes)


@pytest.mark.parametrize("kind", ["dense", "leaky", "deep", "ended"])
def test_both_searches_decide_alike_and_never_against_a_point(kind: str) -> None:
    seen = set()
    for seed in range(6):
        net = network(kind, seed)
        box = region(net, seed, (0.05, 0.15, 0.25)[seed % 3])
        wanted = wanted_of(net, box)
        first = search_inputs(net, box, wanted, timeout=20)
        second = search_relus(net, box, wanted, timeout=20)
        tried = box.sample(points(box.low, box.high, 400, seed))[:, 0]
        least = wanted.least(wanted.values(net(tried))).min()
        for verdict in (first, second):
            seen.add(verdict.status)
            if verdict.status == "safe":
                assert least > 0
            if verdict.counterexample is not None:
                point = verdict.counterexample
                assert (box.low[0] <= point).all()
                assert (point <= box.high[0]).all()
                assert wanted.least(wanted.values(net(point[None]))) <= 0
        assert {first.status, second.status} in ({"safe"}, {"unsafe"}), (kind, seed, first, second)
    assert seen == {"safe", "unsafe"}


def test_without_an_attack_the_search_itself_finds_what_is_unsafe() -> None:
    found = 0
    for seed in range(4):
        net = network("dense", seed)
        box = region(net, seed, 0.4)
        wanted = wanted_of(net, box)
        with_attack, alone = (search_relus(net, box, wanted, timeout=20, attack=attack) for attack in (True, False))
        assert with_attack.status == alone.status
        found += alone.status == "unsafe"
    assert found


def test_groups_of_inequalities_are_decided() -> None:
    # Unsafe only where both outputs are at most 0.
    for seed in range(6):
        net = network("dense", seed, outputs=2)
        box = region(net, seed, 0.3)
        wanted = Property(torch.eye(2).double(), torch.tensor([0.1, 0.2]).double(), torch.zeros(2, dtype=torch.long))
        verdict = search_inputs(net, box, wanted, timeout=20)
        values = wanted.values(net(box.sample(points(box.low, box.high, 2000, seed))[:, 0]))
        broken = bool((values <= 0).all(1).any())
        assert verdict.status in ("safe", "unsafe")
        assert not (verdict.status == "safe" and broken)
        if verdict.counterexample is not None:
            assert (wanted.values(net(verdict.counterexample[None])) <= 0).all()


def test_convolutions_with_residuals_are_decided() -> None:
    for seed in range(4):
        net = network("residual", seed)
        box = region(net, seed, 0.06)
        wanted = wanted_of(net, box)
        verdict = decide(net, box, wanted, timeout=20)
        tried = box.sample(points(box.low, box.high, 300, seed))[:, 0]
        if verdict.status == "safe":
            assert wanted.least(wanted.values(net(tried))).min() > 0
        assert verdict.status != "unknown" or verdict.reason


@pytest.mark.parametrize("kind", ["ended", "chained"])
def test_functions_of_an_activation_are_searched_as_those_of_a_matrix(kind: str) -> None:
    # The output, and the input of a ReLU whose boxes are shrunk, may be another activation's output.
    searched = 0
    for seed in range(6):
        net = network(kind, seed)
        box = region(net, seed, 0.2)
        wanted = wanted_of(net, box)
        verdict = search_relus(net, box, wanted, timeout=3, attack=False)
        values = wanted.values(net(box.sample(points(box.low, box.high, 400, seed))[:, 0]))
        assert not (verdict.status == "safe" and (wanted.least(values) <= 0).any())
        searched += verdict.steps
    assert searched


def test_a_counterexample_that_the_real_model_withstands_is_none() -> None:
    net = network("dense", 1)
    box = region(net, 1, 0.4)
    wanted = wanted_of(net, box)
    assert search_inputs(net, box, wanted, timeout=20).status == "unsafe"

    def stubborn(x: Tensor) -> Tensor:
        return 10 * torch.eye(4, dtype=torch.float64)[int(net((box.low + box.high) / 2).argmax())].expand(len(x), 4)

    verdict = search_inputs(net, box, wanted, replay=stubborn, timeout=0.3)
    assert verdict.status == "unknown"
    assert "the real model does not" in verdict.reason or "time-out" in verdict.reason


def test_a_search_without_time_is_refused() -> None:
    net = network("dense", 1)
    box = region(net, 1, 0.1)
    with pytest.raises(ConfigError, match="timeout must be above 0 seconds"):
        decide(net, box, wanted_of(net, box), timeout=0)


@pytest.mark.parametrize("value", [float("nan"), -float("inf")])
def test_bounds_that_are_no_numbers_leave_the_search_open(value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    # As float32 gives them where a network's values go beyond it.
    net = network("dense", 1)
    box = region(net, 1, 0.4)
    wanted = wanted_of(net, box)
    assert search_relus(net, box, wanted, timeout=20).status == "unsafe"
    monkeypatch.setattr(
        relu_split, "output_bounds", lambda root, weight, **_: torch.full(weight.shape[:2], value, dtype=torch.float64)
    )
    verdict = search_relus(net, box, wanted, timeout=20, attack=False)
    assert verdict.status == "unsafe"
    assert verdict.steps


def test_lower_bounds_are_finite_or_prove_nothing() -> None:
    inf, nan = float("inf"), float("nan")
    assert proven(torch.tensor([nan, inf, -inf, 1.0])).tolist() == [-inf, -inf, -inf, 1.0]
    box = Box(torch.zeros(4), torch.ones(4))
    box.meet(torch.tensor([nan, inf, -inf, 0.5]), torch.tensor([nan, -inf, inf, 0.75]))
    assert (box.low.tolist(), box.high.tolist()) == ([0.0, 0.0, 0.0, 0.5], [1.0, 1.0, 1.0, 0.75])
