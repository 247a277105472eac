from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

import withstand.attacks.autoattack.square_turns as square_turns
from victims import Linear2, digits, random_pictures
from withstand.attacks.autoattack.square import Square, _bump, _Window
from withstand.attacks.inputs.noise import Noise
from withstand.attacks.objectives import EmbeddingDistance
from withstand.core.errors import ConfigError
from withstand.core.random import Draws
from withstand.core.threat import Ball, Norm
from withstand.core.victims.victim import Victim


class Recorder(nn.Module):
    """A victim that never falls, whose objective rises with every query, and that keeps what it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.clone())
        score = torch.full((len(x),), float(len(self.seen)))
        return torch.stack([torch.zeros(len(x)), score - 1e6], 1)


def watch(shape: tuple[int, ...], norm: Norm = "linf", queries: int = 60, eps: float = 0.1) -> list[Tensor]:
    model, x = Recorder(), torch.full(shape, 0.5)
    with pytest.MonkeyPatch.context() as patch:  # a try a pass
        patch.setattr(square_turns, "_FURTHEST", 1)
        Square(Ball(norm, eps), queries=queries)(Victim(model), x, torch.zeros(shape[0], dtype=torch.int64))
    points = [point for point in model.seen if len(point) == shape[0]]
    return [point.reshape(x.shape) for point in points[-queries - 2 : -1]]  # the start and every try


def test_linf_tries_stripes_then_one_square_of_full_size_each() -> None:
    points = watch((5, 3, 8, 8))
    stripes = points[0] - 0.5
    torch.testing.assert_close(stripes.abs(), torch.full_like(stripes, 0.1))
    assert (stripes == stripes[:, :, :1]).all()
    assert (stripes[:, :, 0] != stripes[:1, :, 0]).any()
    for before, after in pairwise(points):
        changed = (before != after).any(1)
        assert changed.flatten(1).any(1).all()  # no query is wasted
        for sample in range(5):
            rows, columns = changed[sample].nonzero().unbind(1)
            square = after[sample, :, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] - 0.5
            torch.testing.assert_close(square.abs(), torch.full_like(square, 0.1))


def test_each_sample_has_its_own_square() -> None:
    points = watch((6, 1, 8, 8), queries=200)
    last = [(before != after).any(1) for before, after in pairwise(points[-20:])]
    assert all(len({tuple(map(tuple, one.tolist())) for one in changed}) > 1 for changed in last)


@pytest.mark.thorough
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("shape", [(3, 1, 7, 7), (3, 3, 5, 9), (3, 2, 11), (3, 10)])
def test_last_row_and_column_are_reached(norm: Norm, shape: tuple[int, ...]) -> None:
    points = watch(shape, norm, queries=300)
    changed = torch.stack([before != after for before, after in pairwise(points[1:])])
    assert changed.any(0).any(0).all()


def test_windows_are_uniform_over_all_that_fit() -> None:
    window = _Window(Draws(0, torch.arange(6000)), 2, 3, 4, 5)
    for place, count in ((window.top, 3), (window.left, 3)):
        share = place.flatten().bincount().double() / 6000
        assert len(share) == count
        assert ((share - 1 / count).abs() < 0.03).all()
    assert (window.inside.sum((1, 2)) == 6).all()


def test_rectangles_shrink_by_the_papers_schedule() -> None:
    full = Square(queries=10_000)
    areas = {0: 0.8, 10: 0.8, 11: 0.4, 50: 0.4, 51: 0.2, 200: 0.2, 201: 0.1, 501: 0.05, 1001: 0.025, 8001: 0.8 / 512}
    for turn, share in areas.items():
        assert full.sides(turn, 100, 100) == (round((share * 1e4) ** 0.5),) * 2
    half = Square(queries=5000)
    assert [half.sides(turn, 100, 100) for turn in (5, 6, 4001)] == [
        full.sides(turn, 100, 100) for turn in (10, 12, 8002)
    ]
    paper = Square(queries=5000, rescale=False)
    assert paper.sides(4999, 100, 100) == full.sides(4999, 100, 100)


def test_sides_fit_any_picture() -> None:
    attack = Square()
    assert attack.sides(0, 1, 20) == (1, 16)
    assert attack.sides(0, 4, 20) == (4, 16)
    assert attack.sides(4999, 1, 1) == (1, 1)
    bumps = Square(Ball("l2", 1.0))
    assert bumps.sides(4999, 32, 32) == (3, 3)
    assert bumps.sides(0, 32, 32) == (29, 29)
    assert bumps.sides(4999, 2, 9) == (2, 3)


def test_a_bump_is_a_hill_beside_a_hollow() -> None:
    bump = _bump(4, 5)
    assert (bump[:2] > 0).all()
    assert (bump[2:] < 0).all()
    torch.testing.assert_close(bump[:2].square().sum(), torch.tensor(1.0))
    # Concentric rectangles of height 1 / k^2 about (1, 2): the middle has all three, its ring two, the rest one.
    rings = torch.tensor([[2, 1, 1, 1, 2], [2, 1, 0, 1, 2]])
    height = torch.tensor([1 + 1 / 4 + 1 / 9, 1 / 4 + 1 / 9, 1 / 9])[rings]
    torch.testing.assert_close(bump[:2], height / height.square().sum().sqrt())


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_bumps_always_use_all_of_eps(norm: Norm) -> None:
    for point in watch((4, 3, 8, 8), norm, eps=0.3):
        torch.testing.assert_close(Ball(norm, 0.3).size(point - 0.5), torch.full((4,), 0.3), rtol=1e-4, atol=0)


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_bumps_lie_in_tiles_at_first(norm: Norm) -> None:
    first = watch((3, 2, 11, 11), norm, queries=2)[0] - 0.5
    assert first[..., 10, :].eq(0).all()  # tiles of 2 x 2 leave the last line out
    assert first[..., 10].eq(0).all()
    assert first[..., :10, :10].ne(0).all()


def test_the_objective_never_falls_with_more_queries() -> None:
    victim, x, y = digits()
    for norm, eps in (("linf", 0.1), ("l2", 0.5), ("l1", 1.0)):
        some, more = (Square(Ball(norm, eps), queries=count, rescale=False)(victim, x, y) for count in (20, 60))
        assert not (some.success & ~more.success).any()
        kept = ~more.success
        assert (more.loss[kept] >= some.loss[kept] - 1e-5).all()


def test_linear_model_is_attacked_nearly_optimally() -> None:
    model = Linear2(dtype=torch.float32)
    x = torch.rand(8, 12, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.25
    y = (model.score(x) > 0).long()
    with torch.no_grad():
        model.b += 10 * (2 * y[0] - 1)  # out of reach: every query is spent
    y = (model.score(x) > 0).long()
    found = Square(Ball("linf", 0.1), queries=400)(Victim(model), x, y)
    best = model.score(x) + (1 - 2 * y) * 0.1 * model.w.abs().sum()
    torch.testing.assert_close(model.score(found.x), best, rtol=0, atol=1e-4)


@pytest.mark.thorough
@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.15), ("l2", 0.8), ("l1", 3.0)])
def test_breaks_what_noise_does_not_without_gradients(norm: Norm, eps: float) -> None:
    victim, x, y = digits()

    def blind(x: Tensor) -> Tensor:
        with torch.no_grad():
            return victim.output(x.detach())

    found = Square(Ball(norm, eps), queries=200)(Victim(blind), x, y)
    noise = Noise(Ball(norm, eps))(victim, x, y)
    assert found.success.float().mean() > noise.success.float().mean() + 0.3
    assert (found.queries[found.success].float().mean()) < 100
    assert (found.queries[~found.success] == 203).all()


def test_embeddings_are_attacked_as_they_are() -> None:
    x, _ = random_pictures(channels=3)
    net = nn.Sequential(nn.Flatten(), nn.Linear(108, 4))
    found = Square(Ball("linf", 0.1), EmbeddingDistance(threshold=10.0), queries=50)(Victim(net), x)
    start = Square(Ball("linf", 0.1), EmbeddingDistance(threshold=10.0), queries=1)(Victim(net), x)
    assert (found.loss > start.loss).all()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_flat_model_gives_no_nan(norm: Norm) -> None:
    x, y = random_pictures()
    found = Square(Ball(norm, 0.1), queries=5)(Victim(lambda x: x.flatten(1)[:, :5] * 0), x, y)
    assert torch.isfinite(found.x).all()
    assert torch.equal(found.success, y != 0)


@pytest.mark.parametrize(("arguments", "message"), [({"queries": 0}, "queries"), ({"share": 0.0}, "share is a part")])
def test_useless_settings_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Square(**arguments)


@pytest.mark.oracle
@pytest.mark.parametrize(("norm", "name", "eps"), [("linf", "Linf", 0.1), ("l2", "L2", 0.5)])
def test_breaks_at_least_as_much_as_torchattacks(norm: Norm, name: str, eps: float) -> None:
    torchattacks = pytest.importorskip("torchattacks")
    victim, x, y = digits()
    theirs = torchattacks.Square(victim.model, norm=name, eps=eps, n_queries=300, seed=0)
    broken = victim.output(theirs(x, y)).argmax(1) != y
    ours = Square(Ball(norm, eps), queries=300)(victim, x, y).success
    assert ours.float().mean() >= broken.float().mean() - 0.03
