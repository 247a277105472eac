"""Closed forms of losses under an adversary who pays, beside a search over where he could go."""

import math
from typing import get_args

import pytest
import torch
from torch import Tensor

from withstand.core.errors import ConfigError
from withstand.losses.robust.transport import (
    Cost,
    MarginLoss,
    least_price,
    margin_loss,
    pair_norms,
    rivals,
    transported,
    transported_cross_entropy,
)

LOSSES, COSTS = get_args(MarginLoss), get_args(Cost)


def drawn(classes: int, count: int = 12, width: int = 2) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(classes)
    x, weight, bias = (
        torch.randn(*size, dtype=torch.float64, generator=generator)
        for size in ((count, width), (classes, width), (classes,))
    )
    return x, weight, bias, torch.arange(count) % classes


def of_scores(scores: Tensor, y: int, loss: MarginLoss) -> Tensor:
    """The loss of scores `(N, K)` as its definition says; a tie counts as wrong."""
    others = scores.clone()
    others[:, y] = -torch.inf
    margin = scores[:, y] - others.amax(1)
    if loss == "zero-one":
        return (margin <= 1e-9).double()
    risen = (1 - margin).clamp_min(0)
    return risen.clamp_max(1) if loss == "ramp" else risen


def grid(x: Tensor, weight: Tensor, bias: Tensor, y: int, far: float = 6.0) -> Tensor:
    """Points round a sample of two features, `(N, 2)`: rings, and those on its way across each boundary."""
    angles = torch.linspace(0, 2 * math.pi, 37, dtype=torch.float64)
    radii = torch.linspace(0, far, 601, dtype=torch.float64)
    ring = torch.stack([angles.cos(), angles.sin()], 1)
    towards = weight - weight[y]
    towards = towards[torch.arange(len(weight)) != y]
    ring = torch.cat([ring, towards / towards.norm(dim=1, keepdim=True)])
    points = x + (radii[:, None, None] * ring).flatten(0, 1)
    scores = x @ weight.T + bias
    on = [
        x + (scores[y] - scores[k]) / (weight[k] - weight[y]).square().sum() * (weight[k] - weight[y])
        for k in range(len(weight))
        if k != y
    ]
    return torch.cat([points, torch.stack(on), x[None]])


@pytest.mark.parametrize(("classes", "price"), [(2, 0.7), (3, 0.7), (3, 5.0)])
@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("loss", LOSSES)
def test_closed_forms_are_the_largest_over_all_points(loss: MarginLoss, cost: Cost, classes: int, price: float) -> None:
    x, weight, bias, y = drawn(classes)
    gamma = price if loss != "hinge" else float(pair_norms(weight).max()) + 0.1
    found = transported(*rivals(x, weight, bias, y), gamma, loss, cost)
    for place in range(len(x)):
        points = grid(x[place], weight, bias, int(y[place]))
        fee = (points - x[place]).norm(dim=1)
        paid = of_scores(points @ weight.T + bias, int(y[place]), loss) - gamma * (fee if cost == "l2" else fee**2)
        assert float(found[place]) == pytest.approx(float(paid.max()), abs=2e-3)
        assert float(found[place]) >= float(paid.max()) - 1e-9


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("loss", LOSSES)
def test_the_worst_falls_with_the_price_to_the_loss_itself(loss: MarginLoss, cost: Cost) -> None:
    x, weight, bias, y = drawn(4)
    margins, norms = rivals(x, weight, bias, y)
    plain = margin_loss(margins, loss)
    free = transported(margins, norms, 0.0, loss, cost)
    assert bool((free >= 1e3).all()) if loss == "hinge" else torch.allclose(free, torch.ones_like(free))
    before = free
    for gamma in (0.3, 2.0, 9.0, 1e7):
        now = transported(margins, norms, gamma, loss, cost)
        assert bool((now <= before + 1e-12).all())
        assert bool((now >= plain - 1e-12).all())
        before = now
    torch.testing.assert_close(before, plain, atol=1e-5, rtol=0)


def test_the_papers_form_for_two_classes_and_unit_weights() -> None:
    x, _, _, y = drawn(2)
    direction = torch.tensor([0.6, 0.8], dtype=torch.float64)
    weight = torch.stack([-direction, direction]) / 2
    margin = (2 * y - 1) * (x @ direction)
    expected = (1 - 1.5 * margin).clamp(0, 1)
    torch.testing.assert_close(transported(*rivals(x, weight, None, y), 1.5), expected)


def test_zero_one_hangs_on_price_over_norm_alone() -> None:
    x, weight, bias, y = drawn(3)
    one = transported(*rivals(x, weight, bias, y), 0.8)
    torch.testing.assert_close(transported(*rivals(x, 7 * weight, 7 * bias, y), 0.8), one)


def test_hinge_is_infinite_where_moving_is_cheaper_than_it_gains() -> None:
    x, weight, bias, y = drawn(2)
    margins, norms = rivals(x, weight, bias, y)
    limit = float(norms.max())
    assert bool(transported(margins, norms, limit * 0.999, "hinge").isinf().all())
    assert torch.equal(transported(margins, norms, limit, "hinge"), margin_loss(margins, "hinge"))


def test_gradients_are_those_of_finite_differences() -> None:
    x, weight, bias, y = drawn(3)
    for loss in LOSSES:
        for cost in COSTS:
            gamma = 20.0 if loss == "hinge" else 0.4
            torch.autograd.gradcheck(
                lambda w, b, g=gamma, a=loss, c=cost: transported(*rivals(x, w, b, y), g, a, c),
                (weight.clone().requires_grad_(), bias.clone().requires_grad_()),
            )


@pytest.mark.parametrize("classes", [2, 4])
def test_cross_entropy_finds_the_worst_point(classes: int) -> None:
    x, weight, bias, y = drawn(classes)
    gamma = 1.5 * least_price(weight)
    found = transported_cross_entropy(x, weight, bias, y, gamma, steps=200)
    for place in range(len(x)):
        points = grid(x[place], weight, bias, int(y[place]))
        told = y[place].expand(len(points))
        risen = torch.nn.functional.cross_entropy(points @ weight.T + bias, told, reduction="none")
        paid = risen - gamma * (points - x[place]).square().sum(1)
        assert float(found[place]) >= float(paid.max()) - 1e-9
        assert float(found[place]) == pytest.approx(float(paid.max()), abs=5e-3)
    few = transported_cross_entropy(x, weight, bias, y, 3 * least_price(weight))
    many = transported_cross_entropy(x, weight, bias, y, 3 * least_price(weight), steps=300)
    torch.testing.assert_close(few, many, atol=1e-6, rtol=0)


def test_gradients_of_cross_entropy_are_those_at_the_worst_point() -> None:
    x, weight, bias, y = drawn(3)
    gamma = 2 * least_price(weight)
    torch.autograd.gradcheck(
        lambda w, b: transported_cross_entropy(x, w, b, y, gamma, steps=80),
        (weight.clone().requires_grad_(), bias.clone().requires_grad_()),
    )


def test_what_is_refused() -> None:
    margins = torch.ones(2, 1)
    with pytest.raises(ConfigError, match="gamma must be at least 0"):
        transported(margins, margins, -1.0)
    with pytest.raises(ConfigError, match="is unknown"):
        transported(margins, margins, 1.0, "squared")  # type: ignore[arg-type]
