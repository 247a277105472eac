import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from torch import Tensor, nn

from victims import random_pictures, small_net
from withstand.attacks.inputs.boundary import class_gaps, cross, distance, rolled, strongest_rivals, unrolled
from withstand.attacks.objectives import Margin
from withstand.attacks.problem import Problem, make_problem
from withstand.core.threat import Ball, Norm
from withstand.core.victims.victim import Victim

ORDER = {"linf": torch.inf, "l2": 2.0, "l1": 1.0}


def case(seed: int, entries: int = 9) -> tuple[Tensor, Tensor, Tensor]:
    """Return points in [0, 1], some entries at the border, with slopes, some of them zero, and gaps."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(6, entries, generator=generator, dtype=torch.float64)
    x = torch.where(torch.rand(x.shape, generator=generator) < 0.3, x.round(), x)
    slope = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    slope[torch.rand(x.shape, generator=generator) < 0.2] = 0
    return x, torch.randn(6, generator=generator, dtype=torch.float64), slope


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@given(seed=st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_crossing_stays_in_range_and_meets_the_plane_wherever_it_can(norm: Norm, seed: int) -> None:
    x, gap, slope = case(seed)
    change = cross(x, gap, slope, norm, 0.0, 1.0)
    moved = x + change
    assert moved.min() >= -1e-12
    assert moved.max() <= 1 + 1e-12
    left = gap + (slope * change).sum(1)
    heading = slope.sign() * -gap.sign()[:, None]
    reach = (slope.abs() * torch.where(heading > 0, 1 - x, x)).sum(1)
    wanted = gap.sign() * (gap.abs() - reach).clamp_min(0)
    torch.testing.assert_close(left, wanted, rtol=0, atol=1e-9)


@pytest.mark.parametrize("norm", ["linf", "l1"])
def test_crossing_is_shortest_by_linear_programming(norm: Norm) -> None:
    for seed in range(8):
        x, gap, slope = case(seed)
        ours = torch.linalg.vector_norm(cross(x, gap, slope, norm, 0.0, 1.0), ORDER[norm], dim=1)
        for row in range(len(x)):
            exact = shortest(x[row].numpy(), float(gap[row]), slope[row].numpy(), norm)
            if exact is not None:
                assert abs(exact - float(ours[row])) < 1e-8


def shortest(x: np.ndarray, gap: float, slope: np.ndarray, norm: Norm) -> float | None:
    """Return the least norm of a change in the range with gap + slope.change = 0; None where there is none."""
    count = len(x)
    size = np.eye(count) if norm == "l1" else np.ones((count, 1))  # bounds on each entry, whose sum is least
    cost = np.concatenate([np.zeros(count), np.ones(size.shape[1])])
    above = np.block([[np.eye(count), -size], [-np.eye(count), -size]])
    bounds = [(-value, 1 - value) for value in x] + [(0, None)] * size.shape[1]
    found = linprog(
        cost, above, np.zeros(2 * count), np.concatenate([slope, np.zeros(size.shape[1])])[None], [-gap], bounds
    )
    return found.fun if found.status == 0 else None


def test_l2_crossing_satisfies_the_conditions_of_optimality() -> None:
    for seed in range(8):
        x, gap, slope = case(seed)
        change = cross(x, gap, slope, "l2", 0.0, 1.0)
        moved = x + change
        free = (moved > 1e-9) & (moved < 1 - 1e-9) & (slope != 0)
        pace = torch.where(free, change / slope, torch.nan)
        level = pace.nanmean(1, keepdim=True)
        free_rows = free.any(1)
        torch.testing.assert_close(pace[free], level.expand_as(pace)[free], rtol=1e-6, atol=1e-9)
        held = (~free & (slope != 0))[free_rows]
        # An entry at the border would like to go further, at the common pace, than the range lets it.
        assert (change.abs() <= (level * slope).abs() + 1e-9)[free_rows][held].all()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_without_the_range_the_way_is_the_dual_norm(norm: Norm) -> None:
    x, gap, slope = case(0)
    change = cross(x, gap, slope, norm, -1e6, 1e6)
    dual = {"linf": 1.0, "l2": 2.0, "l1": torch.inf}[norm]
    wanted = gap.abs() / torch.linalg.vector_norm(slope, dual, dim=1)
    torch.testing.assert_close(torch.linalg.vector_norm(change, ORDER[norm], dim=1), wanted)
    torch.testing.assert_close(distance(gap[:, None], slope[:, None], norm)[:, 0], wanted)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_tiny_and_zero_slopes_are_finite(norm: Norm) -> None:
    x = torch.full((3, 4), 0.5)
    slope = torch.tensor([0.0, 1e-30, 1.0])[:, None].expand(3, 4)
    change = cross(x, torch.tensor([1.0, 1e-31, 0.0]), slope, norm, 0.0, 1.0)
    assert torch.isfinite(change).all()
    assert not change[0].any()
    torch.testing.assert_close((change[1] * 1e-30).sum(), torch.tensor(-1e-31), rtol=1e-4, atol=0)
    assert not change[2].any()


def posed(*, targeted: bool = False) -> Problem:
    x, y = random_pictures(dtype=torch.float64)
    return make_problem(Victim(small_net(dtype=torch.float64).eval()), Margin(), Ball(targeted=targeted), x, y)


def test_gaps_are_differences_of_logits_with_their_gradients() -> None:
    problem = posed()
    gaps, slopes = class_gaps(problem, problem.x)
    assert gaps.shape == (6, 4)
    assert slopes.shape == (6, 4, 1, 6, 6)
    assert (problem.queries == 1).all()
    logits = problem.victim.output(problem.x)
    for row, label in enumerate(problem.y.tolist()):
        others = [other for other in range(5) if other != label]
        torch.testing.assert_close(gaps[row], (logits[row, others] - logits[row, label]).detach())
    step = 1e-6 * torch.randn(problem.x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    moved = class_gaps(problem, problem.x + step)[0]
    torch.testing.assert_close(moved - gaps, (slopes * step[:, None]).flatten(2).sum(2), rtol=1e-4, atol=1e-12)


def test_rivals_are_the_likeliest_other_classes() -> None:
    problem = posed()
    rivals = strongest_rivals(problem, 9)
    assert rivals.shape == (6, 4)
    assert not (rivals == problem.y[:, None]).any()
    scores = problem.victim.output(problem.x).gather(1, rivals)
    assert (scores.diff(dim=1) <= 0).all()
    gaps, _ = class_gaps(problem, problem.x, rivals[:, :1])
    every, _ = class_gaps(problem, problem.x)
    torch.testing.assert_close(gaps[:, 0], every.amax(1))


def test_a_targeted_ball_has_the_boundary_of_the_wanted_class() -> None:
    problem = posed(targeted=True)
    gaps, slopes = class_gaps(problem, problem.x)
    assert gaps.shape == (6, 1)
    assert slopes.shape == (6, 1, 1, 6, 6)
    reached = problem.victim.output(problem.x).argmax(1) == problem.y
    assert torch.equal(gaps[:, 0] > 0, reached)


def test_masked_entries_have_no_slope() -> None:
    x, y = random_pictures()
    mask = torch.zeros_like(x, dtype=torch.bool)
    mask[..., 0] = True
    problem = make_problem(Victim(nn.Sequential(nn.Flatten(), nn.Linear(36, 5))), Margin(), Ball(), x, y, mask)
    slopes = class_gaps(problem, x)[1]
    assert not slopes[..., 1:].any()
    assert slopes[..., 0].all()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", [(3, 2, 4, 5), (2, 1, 3, 3)])
def test_rows_in_memorys_order_are_views_and_lead_back(shape: tuple[int, ...], layout: torch.memory_format) -> None:
    x = torch.arange(float(torch.Size(shape).numel())).view(shape).contiguous(memory_format=layout)
    rows = unrolled(x, x)
    assert rows.data_ptr() == x.data_ptr()
    assert torch.equal(rows.flatten().sort().values, torch.arange(float(x.numel())))
    more = torch.cat([rows, rows + 1])
    assert torch.equal(rolled(more, x), torch.cat([x, x + 1]))
    assert torch.equal(rolled(unrolled(x.contiguous(), x), x), x)
