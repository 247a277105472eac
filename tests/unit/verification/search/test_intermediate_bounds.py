"""Shrunk boxes hold what the network does, and a search never loses a sub-problem."""

import pytest
import torch

from unit.verification.random_networks import network, points
from withstand.verification.bounds.alpha import Ascent
from withstand.verification.bounds.crown import relax_network
from withstand.verification.network.activation import Activation
from withstand.verification.search.intermediate_bounds import refine_bounds
from withstand.verification.search.sub_problems import Splitter
from withstand.verification.specification.box import Region


def region(shape: tuple[int, ...], seed: int, eps: float) -> Region:
    x = torch.rand(1, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return Region.box((x - eps).clamp_min(0), (x + eps).clamp_max(1))


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["dense", "leaky", "deep", "conv", "residual", "curved", "mixed", "smooth"])
def test_boxes_shrink_and_still_hold_all_values(kind: str) -> None:
    smaller = 0
    for seed in range(2):
        net = network(kind, seed).to(torch.float32)
        box = region(net.shape, seed, 0.2)
        relaxed = relax_network(net, box.to(torch.float32))
        before = [(value.low.clone(), value.high.clone()) for value in relaxed.boxes]
        tried = network(kind, seed).values(box.sample(points(box.low, box.high, 500, seed))[:, 0])
        widths = []
        for leaves in (1, 3):
            refine_bounds(relaxed, leaves=leaves, ascent=Ascent(steps=4))
            for (low, high), now, values in zip(before, relaxed.boxes, tried, strict=True):
                assert (now.low >= low).all()
                assert (now.high <= high).all()
                assert (values >= now.low.double()).all()
                assert (values <= now.high.double()).all()
            bent = [node.inputs[0] for node in net.nodes if isinstance(node.operation, Activation)]
            widths.append(sum(float((relaxed.boxes[place].high - relaxed.boxes[place].low).sum()) for place in bent))
        smaller += widths[1] < widths[0]
    # A search sees what slopes alone don't, where there is a layer to shrink: the first one's boxes are exact.
    assert smaller or kind in ("dense", "leaky")


def test_without_time_nothing_changes() -> None:
    net = network("deep", 0).to(torch.float32)
    relaxed = relax_network(net, region(net.shape, 0, 0.2).to(torch.float32))
    before = [value.low.clone() for value in relaxed.boxes]
    refine_bounds(relaxed, leaves=8, seconds=0)
    assert all(torch.equal(old, now.low) for old, now in zip(before, relaxed.boxes, strict=True))


@pytest.mark.parametrize("kind", ["dense", "leaky", "residual", "curved", "mixed", "smooth"])
def test_halves_bound_their_own_points_and_cover_all(kind: str) -> None:
    net = network(kind, 1)
    box = region(net.shape, 1, 0.25)
    small = net.to(torch.float32)
    weight = torch.eye(net.classes, dtype=torch.float64)[:2]
    splitter = Splitter(relax_network(small, box.to(torch.float32)), weight, torch.zeros(2).double())
    row = torch.arange(2)
    # A function that is proven is cut no more: shift them so that all stay open.
    splitter.offset = -torch.full((2,), 1e3, dtype=torch.float64)
    problems = splitter.whole(row, torch.full((2,), -torch.inf, dtype=torch.float64))
    for _ in range(3):
        problems = splitter.bounded(problems, Ascent(steps=3))[0]
        whole = problems
        problems = problems.split()
    problems = splitter.bounded(problems, Ascent(steps=3))[0]
    assert (problems.bound.view(2, -1).amin(0) >= whole.bound - 1e-9).all()
    x = box.sample(points(box.low, box.high, 400, 1))[:, 0]
    values = net.values(x)
    outputs = values[-1] @ weight.T - 1e3
    inputs = torch.cat(
        [values[net.nodes[place].inputs[0]].flatten(1)[:, where] for place, where in splitter.places.items()], 1
    )
    covered = torch.zeros(len(x), 2, dtype=torch.bool)
    for low, high, function, bound in zip(
        problems.low, problems.high, problems.row.tolist(), problems.bound, strict=True
    ):
        inside = ((inputs >= low) & (inputs <= high)).all(1)
        covered[inside, function] = True
        assert (outputs[inside, function] >= bound).all()
    assert covered.all()
