import math

import pytest
import torch
from torch import Tensor

from withstand.core.errors import DataError
from withstand.losses.contrast.geometry import alignment, effective_rank, per_dimension_std, uniformity


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_alignment() -> None:
    z = draw(9, 4)
    assert alignment(z, 3 * z).item() == pytest.approx(0, abs=1e-12)
    assert alignment(z, -z).item() == pytest.approx(4)
    assert alignment(z, -z, power=1).item() == pytest.approx(2)
    ring = torch.eye(4)
    assert alignment(ring, ring.roll(1, 0)).item() == pytest.approx(2)


@pytest.mark.parametrize("t", [0.5, 2.0, 30.0])
def test_uniformity_equals_the_pairwise_formula(t: float) -> None:
    z = draw(30, 4).requires_grad_()
    unit = torch.nn.functional.normalize(z, dim=1)
    plain = torch.pdist(unit).square().mul(-t).exp().mean().log()
    torch.testing.assert_close(uniformity(z, t=t), plain, rtol=0, atol=1e-10)
    torch.testing.assert_close(*(torch.autograd.grad(x, z)[0] for x in (uniformity(z, t=t), plain)), rtol=0, atol=1e-10)


def test_uniformity_of_known_clouds() -> None:
    assert uniformity(torch.tensor([[1.0, 0], [-1, 0]])).item() == pytest.approx(-8), "antipodes, at distance 2"
    assert uniformity(torch.eye(5)).item() == pytest.approx(-4), "corners, at distance sqrt(2)"
    z = draw(40, 6)
    turn = torch.linalg.qr(draw(6, 6, seed=1)).Q
    torch.testing.assert_close(uniformity(z @ turn), uniformity(z), rtol=0, atol=1e-12)


def test_uniformity_of_the_even_sphere() -> None:
    """Against the integral over one angle, whose density on the sphere in D dimensions is sin^(D - 2)."""
    angle = torch.linspace(0, math.pi, 20001, dtype=torch.float64)
    density = angle.sin().pow(8 - 2)
    expected = (
        torch.trapezoid(density * (-4 * (1 - angle.cos())).exp(), angle) / torch.trapezoid(density, angle)
    ).log()
    assert uniformity(draw(3000, 8)).item() == pytest.approx(expected.item(), abs=0.02)


def test_collapse_shows_in_every_gauge() -> None:
    point = draw(1, 6).expand(20, -1)
    assert uniformity(point).item() == pytest.approx(0, abs=1e-12)
    assert per_dimension_std(point).max().item() == pytest.approx(0, abs=1e-12)
    assert effective_rank(point).item() == 0
    assert effective_rank(torch.zeros(20, 6)).item() == 0
    nearly = point.float() * (1 + torch.arange(20)[:, None] % 3 * 1e-7)
    assert effective_rank(nearly).item() == 0, "round-off is no rank"


def test_even_spread() -> None:
    z = draw(4000, 16)
    torch.testing.assert_close(per_dimension_std(z), torch.full((16,), 0.25).double(), rtol=0.05, atol=0)
    assert effective_rank(z).item() == pytest.approx(16, abs=0.05)
    assert uniformity(z).item() < -3


@pytest.mark.parametrize("rank", [1, 3, 7])
def test_effective_rank_counts_equal_directions(rank: int) -> None:
    basis = torch.linalg.qr(draw(12, rank)).Q
    corners = torch.cat([basis.T, -basis.T]) + draw(1, 12, seed=3)  # the center does not count
    assert effective_rank(corners).item() == pytest.approx(rank, abs=1e-9)


def test_effective_rank_is_the_entropy_of_the_spectrum() -> None:
    z = draw(10, 4)
    values = torch.linalg.svdvals(z - z.mean(0))
    share = values / values.sum()
    assert effective_rank(z).item() == pytest.approx(math.exp(-(share * share.log()).sum().item()))


def test_half_precision_and_mistakes() -> None:
    z = draw(10, 4).to(torch.bfloat16)
    for gauge in (uniformity, per_dimension_std, effective_rank):
        assert gauge(z).dtype == torch.float32
        with pytest.raises(DataError, match="at least 2 rows"):
            gauge(z[:1])


@pytest.mark.parametrize("shape", [(12, 40), (40, 12), (16, 16)])
def test_effective_rank_in_float32_is_that_of_the_singular_values(shape: tuple[int, int]) -> None:
    """By products' eigenvalues there, with singular values over four orders of magnitude."""
    z = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * torch.logspace(0, -4, shape[1])
    values = torch.linalg.svdvals(z.double() - z.double().mean(0))
    share = values[values > 1e-9] / values.sum()
    assert effective_rank(z).item() == pytest.approx((-share * share.log()).sum().exp().item(), rel=1e-4)
