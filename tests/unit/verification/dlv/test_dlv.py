import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError, DataError
from withstand.core.part import build, describe
from withstand.verification.dlv import cells
from withstand.verification.dlv.cut import head, layers, reach, tail
from withstand.verification.dlv.families import Brightness, Contrast, Family, Line, Rotation, Translation
from withstand.verification.dlv.features import rank
from withstand.verification.dlv.invert import Inverse
from withstand.verification.dlv.manipulation import Grid, ladder_size
from withstand.verification.dlv.search import Settings, proven, search
from withstand.verification.dlv.semantic import search_family
from withstand.verification.exact.milp import solve_milp
from withstand.verification.exact.question import Question
from withstand.verification.network.activation import ReLU
from withstand.verification.network.capture import capture
from withstand.verification.network.network import Network, sequential
from withstand.verification.network.operation import Linear


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def uniform(*shape: int, seed: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def dense(seed: int, sizes: tuple[int, ...] = (4, 6, 5, 3)) -> Network:
    operations: list[object] = []
    for place, (narrow, wide) in enumerate(pairwise(sizes)):
        weight, bias = normal(wide, narrow, seed=50 * seed + place), 0.3 * normal(wide, seed=50 * seed + place + 20)
        operations += [Linear(weight=weight / math.sqrt(narrow), bias=bias), ReLU()]
    return sequential((sizes[0],), operations[:-1])  # type: ignore[arg-type]


def asked(seed: int, eps: float) -> tuple[Question, Tensor]:
    network = dense(seed)
    x = normal(4, seed=seed + 3)
    return Question.wins(network, x - eps, x + eps, int(network(x[None]).argmax())), x


def test_a_cut_network_is_the_network() -> None:
    network = dense(1)
    assert layers(network) == [0, 2, 4]
    x = normal(7, 4, seed=2)
    for place in layers(network):
        assert torch.allclose(tail(network, place)(head(network, place)(x)), network(x), atol=1e-12)
    with pytest.raises(ConfigError, match="cut at 0, 2, 4"):
        tail(network, 1)


def test_a_residual_network_is_not_cut_inside_a_block() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.relu(self.first(x))
            return torch.relu(self.second(torch.relu(self.first(x))) + x)

    network = capture(nn.Sequential(Block(), nn.Linear(4, 2)).eval(), torch.zeros(1, 4))
    kinds = [type(node.operation).__name__ for node in network.nodes]
    assert [kinds[place] for place in layers(network)] == ["Input", "ReLU", "ReLU"]


def test_a_layers_region_holds_what_its_inputs_reach() -> None:
    network, x = dense(2), normal(4, seed=1)
    low, high = x - 0.3, x + 0.3
    points = low + (high - low) * uniform(2000, 4, seed=5)
    for place in layers(network):
        least, most = reach(network, place, low, high)
        values = head(network, place)(points)
        assert bool(((values >= least) & (values <= most)).all())


def test_enumerations_have_the_points_they_say() -> None:
    center = torch.tensor([0.0, 5.0, 1.0], dtype=torch.float64)
    dims = torch.tensor([0, 2])
    grid = Grid(center, dims, torch.tensor([-1.0, 0.0]).double(), torch.tensor([1.0, 3.0]).double(), spans=2)
    points = torch.cat(list(grid.points("line", batch=7)))
    assert len(points) == grid.count("line") == 25
    assert len({tuple(point.tolist()) for point in points}) == 25
    assert points[:, 1].unique().tolist() == [5.0]
    assert points[:, 0].unique().tolist() == [-1, -0.5, 0, 0.5, 1]
    assert points[:, 2].unique().tolist() == [0, 0.5, 1, 2, 3]  # the centre is on every ladder
    corners = torch.cat(list(grid.points("convex")))
    assert len(corners) == grid.count("convex") == 4
    assert len(torch.cat(list(grid.points("point")))) == 1
    finer = Grid(center, dims, grid.low, grid.high, spans=4)
    fine = {tuple(point.tolist()) for point in torch.cat(list(finer.points("line")))}
    assert {tuple(point.tolist()) for point in points} <= fine
    low, high = grid.cells()
    assert len(low) == 16
    assert float((high - low).prod(1).sum()) == pytest.approx(2 * 3)
    with pytest.raises(ConfigError, match=r"20 dimensions has 9.54e\+13 points"):
        Grid(torch.zeros(20), torch.arange(20), torch.zeros(20), torch.ones(20), spans=2).count("line")
    assert ladder_size(torch.zeros(2), torch.ones(2), 0.125) == 4


def test_features_are_ranked() -> None:
    values = torch.tensor([1.0, -4.0, 2.0, 1.5], dtype=torch.float64)
    free = torch.tensor([True, True, True, False])

    def margin(x: Tensor) -> Tensor:
        return x @ torch.tensor([0.1, 0.0, -3.0, 9.0], dtype=torch.float64)

    assert rank(values, margin, free, 2, "activation").tolist() == [1, 2]
    assert rank(values, margin, free, 5, "gradient").tolist() == [2, 0, 1]
    with pytest.raises(ConfigError, match="gradient"):
        rank(values, margin, free, 1, "gradiant")  # type: ignore[arg-type]


def test_an_activation_comes_back_to_an_input() -> None:
    network = dense(3)
    low, high = torch.full((4,), -1.0).double(), torch.full((4,), 1.0).double()
    first = head(network, 2)
    inverse = Inverse(first, low, high)
    for seed in range(5):
        wanted = first(low + (high - low) * uniform(1, 4, seed=seed))[0]
        dims = wanted.topk(3).indices
        found = inverse(wanted[dims], dims)
        assert found is not None
        x, off = found
        assert off < 1e-6
        assert torch.allclose(first(x[None])[0][dims], wanted[dims], atol=1e-5)
        assert bool(((x >= low - 1e-9) & (x <= high + 1e-9)).all())
    _, off = inverse(torch.tensor([99.0], dtype=torch.float64), torch.tensor([0]))  # type: ignore[misc]
    assert off > 90


def test_the_search_never_contradicts_the_exact_answer() -> None:
    seen: dict[str, int] = {}
    for seed in range(8):
        for eps in (0.02, 0.3, 1.0):
            question, x = asked(seed, eps)
            exact = solve_milp(question).status
            for settings in (Settings(spans=2), Settings(features=2, mode="convex", heuristic="gradient", budget=200)):
                found = search(question, x, settings)
                seen[found.status] = seen.get(found.status, 0) + 1
                if found.status in ("safe", "unsafe"):
                    assert found.status == exact
                else:
                    assert found.verdict().status == "unknown"
                    assert "no_counterexample_on_grid" in found.verdict().reason
                if found.status == "unsafe":
                    assert bool((question.margins(found.counterexamples) <= 0).all())
                    assert bool(
                        ((found.counterexamples >= question.low) & (found.counterexamples <= question.high)).all()
                    )
    assert seen["safe"] > 5
    assert seen["unsafe"] > 5


def test_cells_decide_what_the_grid_cannot() -> None:
    for seed in range(12):
        question, x = asked(seed, 0.25)
        exact = solve_milp(question).status
        found = proven(question, x, budget=4000)
        assert found.status == exact
        if exact == "safe":
            assert 0 < found.margin <= float(question.margins(x[None])) + 1e-9


def test_a_bare_grid_proves_nothing_and_a_finer_one_only_adds() -> None:
    for seed in range(6):
        question, x = asked(seed, 0.5)
        coarse, fine = (
            search(question, x, Settings(features=4, spans=spans, bounds=None, layers=(0,), every=True))
            for spans in (1, 2)
        )
        assert "safe" not in (coarse.status, fine.status)
        assert (coarse.evaluations, fine.evaluations) == (3**4, 5**4)
        assert len(fine.counterexamples) >= len(coarse.counterexamples)


def test_hidden_layers_find_real_inputs() -> None:
    hits = 0
    for seed in range(5):
        question, x = asked(seed, 0.8)
        found = search(question, x, Settings(bounds=None, layers=(2, 4), features=3, every=True))
        hits += len(found.counterexamples) > 0
        if len(found.counterexamples):
            assert solve_milp(question).status == "unsafe"
            assert bool((question.margins(found.counterexamples) <= 0).all())
    assert hits


def test_no_radius_and_dead_networks_are_safe() -> None:
    question, x = asked(1, 0.0)
    assert search(question, x).status == "safe"
    dead = sequential((3,), [Linear(weight=torch.zeros(2, 3), bias=torch.tensor([1.0, 0.0]))])
    box = torch.full((3,), 7.0).double()
    assert search(Question.wins(dead, -box, box, 0), 0 * box).status == "safe"


def test_cells_of_a_known_function() -> None:
    def margin(points: Tensor) -> Tensor:
        return points.square().sum(1) - 0.01

    def lower(low: Tensor, high: Tensor) -> Tensor:
        inside = torch.where((low <= 0) & (high >= 0), 0.0, torch.minimum(low.abs(), high.abs()))
        return inside.square().sum(1) - 0.01

    def box(*sides: float) -> Tensor:
        return torch.tensor([sides], dtype=torch.float64)

    far = cells.prove(box(0.2, 0.2), box(1.0, 1.0), lower, margin)
    assert far.proven
    assert far.bound == pytest.approx(0.07)
    near = cells.prove(box(-1.0, -1.0), box(1.2, 1.3), lower, margin)
    assert not near.proven
    assert float(margin(near.broken).max()) <= 0
    given_up = cells.prove(
        box(0.09, 0.06), box(1.0, 1.0), lambda low, high: lower(low, high) - 0.005, margin, budget=10
    )
    assert not given_up.proven
    assert "in doubt after 1" in given_up.reason


PICTURE = uniform(2, 7, 6, seed=9)
FAMILIES = [Brightness(0.3), Contrast(0.5), Rotation(40), Translation(1.7), Line(1.2, 0.4, 60, 2.5)]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: type(family).__name__)
def test_a_cells_pixels_hold_all_of_its_pictures(family: Family) -> None:
    low, high = family.box()
    size = low.shape[1]
    for width in (1.0, 0.2, 0.01):
        start = low + (high - low) * (1 - width) * uniform(20, size, seed=3)
        end = start + width * (high - low)
        least, most = family.bounds(PICTURE, start, end)
        spread = float((most - least).max())
        for seed in range(20):
            pictures = family.apply(PICTURE, start + (end - start) * uniform(20, size, seed=seed))
            assert bool(((pictures >= least) & (pictures <= most)).all())
        if width == 0.01:
            assert spread < 0.25  # cells shrink to the picture, so that proofs end
    assert len(family.names) == size
    assert build(describe(family)) == family


def test_families_do_what_they_are_called() -> None:
    zero = torch.zeros(1, 1, dtype=torch.float64)
    assert torch.allclose(Rotation().apply(PICTURE, zero)[0], PICTURE, atol=1e-12)
    square = uniform(1, 5, 5, seed=1)
    turned = Rotation(90).apply(square, torch.tensor([[90.0]], dtype=torch.float64))[0]
    assert min(float((turned - square.rot90(k, (1, 2))).abs().max()) for k in (1, 3)) < 1e-9
    moved = Translation(2).apply(square, torch.tensor([[1.0, 0.0]], dtype=torch.float64))[0]
    assert torch.allclose(moved[:, 1:], square[:, :-1], atol=1e-12)
    assert bool((moved[:, 0] == 0).all())
    line = Line(1.0, 0.0, 0.0, 2.0).apply(torch.ones(1, 5, 5).double(), torch.zeros(1, 2).double())[0, 0]
    assert line[:, 0].tolist() == [1.0, 0.5, 0.0, 0.5, 1.0]
    assert float(Contrast(0.5).apply(square, torch.tensor([[-0.5]]).double()).mean()) == pytest.approx(
        float(square.mean())
    )
    with pytest.raises(DataError, match="one float picture"):
        Brightness().apply(torch.zeros(2, 1, 3, 3), zero)
    with pytest.raises(ConfigError, match="ascending"):
        Brightness(-1.0).box()


def test_a_family_is_proven_or_broken_or_left_open() -> None:
    # Bright pictures are of class 1: the mean decides.
    flat = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).eval()
    with torch.no_grad():
        flat[1].weight.copy_(torch.stack([torch.zeros(16), torch.full((16,), 1 / 16)]))
        flat[1].bias.copy_(torch.tensor([0.5, 0.0]))
    x = torch.full((1, 4, 4), 0.4).double()
    network = capture(flat, x[None].float())
    question = Question.wins(network, x, x, 0, model=flat, dtype=torch.float32)
    safe = search_family(question, x, Brightness(0.09))
    assert safe.status == "safe"
    assert safe.margin == pytest.approx(0.01, abs=2e-3)
    broken = search_family(question, x, Brightness(0.2), every=True)
    assert broken.status == "unsafe"
    assert bool((question.margins(broken.counterexamples) <= 0).all())
    bare = search_family(question, x, Brightness(0.09), bounds=None)
    assert bare.status == "no_counterexample_on_grid"
    assert search_family(question, x, Translation(1.0)).status == "safe"
    lit = search_family(question, x, Line(2.0, 1.0, 30.0, 1.0), spans=3)
    assert lit.status == "unsafe"
