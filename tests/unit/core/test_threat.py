import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from withstand.core.errors import ConfigError, DataError
from withstand.core.random import Draws
from withstand.core.threat import Ball, Norm, parse_eps, show_eps

NORMS = ("linf", "l2", "l1")
DUAL = {"linf": 1, "l2": 2, "l1": math.inf}
ORDER = {"linf": math.inf, "l2": 2, "l1": 1}


def dual_size(ball: Ball, x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x.flatten(1), DUAL[ball.norm], dim=1)


vectors = st.builds(
    lambda seed, width, scale: torch.randn(5, width, generator=torch.Generator().manual_seed(seed)).double() * scale,
    st.integers(0, 2**31),
    st.integers(1, 40),
    st.sampled_from([1e-12, 1e-3, 0.3, 1.0, 50.0]),
)


@given(delta=vectors, norm=st.sampled_from(NORMS), eps=st.sampled_from([0.0, 1e-3, 0.3, 1.0, 7.0]))
@settings(max_examples=150, deadline=None)
def test_projection_is_the_nearest_point(delta: Tensor, norm: str, eps: float) -> None:
    """p is nearest to d iff (d - p).(z - p) <= 0 on the whole ball; the maximum over z is eps times the dual norm."""
    ball = Ball(norm, eps)
    point = ball.project(delta)
    assert (ball.size(point) <= eps * (1 + 1e-12) + 1e-15).all()
    gap = delta - point
    scale = delta.norm(dim=1).clamp_min(1e-30) ** 2
    assert (eps * dual_size(ball, gap) - (gap * point).sum(1) <= 1e-9 * scale).all()
    inside = ball.size(delta) <= eps
    assert torch.equal(point[inside], delta[inside])


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("width", "eps"), [(3072, 12.0), (784, 0.5), (10, 0.001)])
def test_projection_of_single_precision_pictures_stays_inside(norm: str, width: int, eps: float) -> None:
    delta = torch.rand(16, width, generator=torch.Generator().manual_seed(0)) * 2 - 1
    point = Ball(norm, eps).project(delta).double()
    assert (Ball(norm).size(point) <= eps * (1 + 1e-6)).all()


@pytest.mark.parametrize("norm", NORMS)
def test_no_point_of_a_fine_grid_is_nearer_than_the_projection(norm: str) -> None:
    ball = Ball(norm, 1.0)
    axis = torch.linspace(-1, 1, 201, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    grid = grid[ball.size(grid) <= 1]
    delta = torch.randn(50, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2
    nearest = torch.cdist(delta, grid).amin(1)
    found = (delta - ball.project(delta)).norm(dim=1)
    assert (found <= nearest + 1e-12).all()
    assert (found >= nearest - 0.02).all()


@given(gradient=vectors, norm=st.sampled_from(NORMS))
@settings(max_examples=100, deadline=None)
def test_direction_reaches_the_dual_norm(gradient: Tensor, norm: str) -> None:
    ball = Ball(norm)
    step = ball.direction(gradient)
    torch.testing.assert_close(ball.size(step), torch.ones(5, dtype=torch.float64))
    torch.testing.assert_close((step * gradient).sum(1), dual_size(ball, gradient))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zero_and_tiny_gradients(norm: str, dtype: torch.dtype) -> None:
    gradient = torch.zeros(2, 3, 4, dtype=dtype)
    gradient[1, 2, 3] = -1e-30
    step = Ball(norm).direction(gradient)
    assert torch.isfinite(step).all()
    assert not step[0].any()
    assert step[1, 2, 3] == -1
    assert step[1].abs().sum() == 1


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 2, 3), (4, 2, 3, 5)])
def test_sizes_of_any_shape(norm: str, shape: tuple[int, ...]) -> None:
    delta = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    wanted = torch.linalg.vector_norm(delta.reshape(4, -1), ORDER[norm], dim=1)
    torch.testing.assert_close(Ball(norm).size(delta), wanted)
    assert Ball(norm, 0.1).project(delta).shape == Ball(norm).direction(delta).shape == torch.Size(shape)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("width", [1, 2, 7])
def test_samples_are_uniform_in_the_ball(norm: str, width: int) -> None:
    """The share of a uniform ball within a radius r is (r / eps)^d, and no direction is preferred."""
    count, eps = 20_000, 0.7
    x = torch.zeros(count, width, dtype=torch.float64)
    ball = Ball(norm, eps)
    delta = ball.sample(x, Draws(0, torch.arange(count)))
    assert delta.dtype == x.dtype
    share = (ball.size(delta) / eps) ** width
    assert share.max() <= 1 + 1e-6
    ordered = share.sort().values
    distance = (ordered - (torch.arange(count, dtype=torch.float64) + 0.5) / count).abs().max()
    assert distance < 1.95 / math.sqrt(count)  # Kolmogorov and Smirnov at p = 0.001
    assert (delta.mean(0).abs() < 4.5 * delta.std(0) / math.sqrt(count)).all()
    moments = (delta**2).mean(0)
    assert (moments.max() / moments.min()).item() < 1.1


@pytest.mark.parametrize("norm", NORMS)
def test_a_samples_draw_is_its_own(norm: str) -> None:
    x = torch.zeros(6, 3, 4)
    draws = Draws(1, torch.arange(6))
    rows = torch.tensor([4, 0])
    whole, some = Ball(norm).sample(x, draws), Ball(norm).sample(x[rows], draws[rows])
    assert torch.equal(whole[rows], some)
    assert not torch.equal(whole[0], whole[1])


def test_eps_is_read_and_shown_in_both_units() -> None:
    assert parse_eps("8/255") == 8 / 255
    assert parse_eps("0.5") == parse_eps(0.5) == 0.5
    assert show_eps(8 / 255) == "0.03137 (8/255)"
    assert str(Ball("l2", 0.5)) == "L2 0.5"


@pytest.mark.parametrize("eps", [-0.1, math.inf, math.nan, "a/b", "1/0", "-1/255"])
def test_useless_radii_are_refused(eps: float | str) -> None:
    with pytest.raises(ConfigError, match="eps must be"):
        parse_eps(eps)


def test_unknown_norm_gets_the_nearest() -> None:
    with pytest.raises(ConfigError, match="'linf'"):
        Ball("lin", 0.1)  # type: ignore[arg-type]


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("eps", [0.0, 1e-3, 5.0, 1e6])
def test_full_size_in_the_same_direction(norm: Norm, eps: float) -> None:
    delta = torch.tensor([[0.0, 0.0, 0.0], [1e-30, -2e-30, 0.0], [3.0, -4.0, 0.0], [1e20, 1e20, -1e20]])
    ball = Ball(norm, eps)
    found = ball.to_surface(delta)
    assert torch.equal(found[0], delta[0])
    assert torch.allclose(ball.size(found)[1:], torch.tensor(eps), rtol=1e-6)
    assert torch.equal(found.sign(), delta.sign() * (eps > 0))


def test_no_draw_is_beyond_the_law(monkeypatch: pytest.MonkeyPatch) -> None:
    """A uniform number may be exactly -1, where the law of L1's entries has no value."""
    monkeypatch.setattr(Draws, "uniform", lambda self, *shape, low=0.0, high=1.0: torch.full((2, *shape), low))
    found = Ball("l1", 0.5).sample(torch.zeros(2, 3), Draws(0, torch.arange(2)))
    assert torch.isfinite(found).all()


@pytest.mark.parametrize("norm", NORMS)
def test_a_ball_round_each_token_is_one_of_samples_of_one_token(norm: Norm) -> None:
    """All of its functions give what a ball round each sample gives where every token is a sample of its own."""
    ball, single = Ball(norm, 0.7, per="token"), Ball(norm, 0.7)
    delta = torch.randn(5, 4, 3, 2, generator=torch.Generator().manual_seed(0)).double()
    delta[1, 2] = 0
    alone = delta.flatten(0, 1)
    torch.testing.assert_close(ball.size(delta), single.size(alone).view(5, 4).amax(1))
    for name in ("project", "to_surface", "direction"):
        found, wanted = getattr(ball, name)(delta), getattr(single, name)(alone)
        assert found.shape == delta.shape
        torch.testing.assert_close(found.flatten(0, 1), wanted)
    assert (single.size(ball.project(delta).flatten(0, 1)) <= 0.7 + 1e-12).all()


@pytest.mark.parametrize("norm", NORMS)
def test_samples_are_uniform_in_each_tokens_ball(norm: Norm) -> None:
    count, length, width, eps = 5000, 4, 3, 0.7
    x = torch.zeros(count, length, width, dtype=torch.float64)
    draws = Draws(0, torch.arange(count))
    delta = Ball(norm, eps, per="token").sample(x, draws)
    share = (Ball(norm, eps).size(delta.flatten(0, 1)).view(count, length) / eps) ** width
    assert share.max() <= 1 + 1e-6
    for token in share.unbind(1):
        distance = (token.sort().values - (torch.arange(count, dtype=torch.float64) + 0.5) / count).abs().max()
        assert distance < 1.95 / math.sqrt(count)
    assert torch.corrcoef(share.T).fill_diagonal_(0).abs().max() < 4.5 / math.sqrt(count), "tokens are drawn apart"
    rows = torch.tensor([4, 0])
    torch.testing.assert_close(Ball(norm, eps, per="token").sample(x[rows], draws[rows]), delta[rows])


def test_a_ball_round_each_token_says_so_and_needs_tokens() -> None:
    assert str(Ball("l2", 2, per="token")) == "L2 2 a token"
    with pytest.raises(ConfigError, match=r"per 'tokens' is unknown: .*'token'"):
        Ball(per="tokens")  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"samples of tokens, \(N, L, ...\), not \(4,\)"):
        Ball("l2", per="token").size(torch.zeros(4))
    with pytest.raises(ConfigError, match="an audit takes a ball round each sample as a whole"):
        Ball(per="token").refuse_tokens("an audit")


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("per", ["sample", "token"])
def test_a_draw_among_free_entries_is_uniform_in_their_ball(norm: Norm, per: str) -> None:
    """As far as if the entries that may not change were not there, and the same however many there are."""
    count, eps, width = 8000, 0.7, 2
    free = torch.tensor([True, False, True, False, False]).expand(count, 1, 5)
    ball, x, draws = Ball(norm, eps, per=per), torch.zeros(count, 1, 5), Draws(0, torch.arange(count))  # type: ignore[arg-type]
    delta = ball.sample(x, draws, free)
    assert not delta[~free].any()
    share = (Ball(norm).size(delta.double()) / eps) ** width
    distance = (share.sort().values - (torch.arange(count, dtype=torch.float64) + 0.5) / count).abs().max()
    assert distance < 1.95 / math.sqrt(count)
    none = ball.sample(x[:2], draws[:2], torch.zeros_like(free[:2]))
    assert not none.any()
    every, plain = (ball.sample(x, Draws(0, torch.arange(count)), some) for some in (torch.ones_like(free), None))
    torch.testing.assert_close(every, plain)
