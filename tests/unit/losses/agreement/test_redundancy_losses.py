import pytest
import torch
from scipy.linalg import hadamard
from torch import Tensor
from torch.nn.functional import batch_norm

from withstand.core.errors import DataError
from withstand.losses.agreement.redundancy import (
    barlow_twins,
    barlow_twins_terms,
    cross_correlation,
    off_diagonal,
    standardize,
)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def plain(z1: Tensor, z2: Tensor, weight: float) -> Tensor:
    """The official code's lines, with loops for the sums."""
    one, two = (batch_norm(z, None, None, training=True, eps=1e-5) for z in (z1, z2))
    c = one.T @ two / len(z1)
    loss = z1.new_zeros(())
    for i in range(len(c)):
        for j in range(len(c)):
            loss = loss + ((c[i, i] - 1) ** 2 if i == j else weight * c[i, j] ** 2)
    return loss


@pytest.mark.parametrize(("rows", "width"), [(8, 5), (4, 9)])
def test_equals_the_plain_formula(rows: int, width: int) -> None:
    z1, z2 = draw(rows, width).requires_grad_(), draw(rows, width, seed=1).requires_grad_()
    ours, theirs = barlow_twins(z1, z2, 0.03), plain(z1, z2, 0.03)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)
    for a, b in zip(torch.autograd.grad(ours, [z1, z2]), torch.autograd.grad(theirs, [z1, z2]), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)
        torch.testing.assert_close(a.sum(0), torch.zeros(width, dtype=a.dtype), rtol=0, atol=1e-12)


def test_decorrelated_identical_views_cost_nothing() -> None:
    z = torch.from_numpy(hadamard(16)[:, 1:]).double()
    assert barlow_twins(z, z).item() == pytest.approx(0, abs=1e-7)  # but for eps


def test_signs_and_collapse() -> None:
    z = draw(32, 6)
    assert barlow_twins_terms(z, z).invariance.item() == pytest.approx(0, abs=1e-8)
    assert barlow_twins_terms(z, -z).invariance.item() == pytest.approx(4 * 6, rel=1e-4)
    constant = torch.full((32, 6), 0.3, dtype=torch.float64)
    assert barlow_twins(constant, constant).item() == pytest.approx(6, abs=1e-10)
    same = z[:, :1].expand(-1, 6)
    assert barlow_twins(same, same, 0.1).item() == pytest.approx(0.1 * 6 * 5, rel=1e-4)


def test_invariances() -> None:
    z1, z2 = draw(32, 6), draw(32, 6, seed=1)
    value = barlow_twins(z1, z2)
    scale, shift = draw(6, seed=2).exp(), draw(6, seed=3)
    rows, columns = (torch.randperm(n, generator=torch.Generator().manual_seed(n)) for n in (32, 6))
    sign = torch.tensor([1, -1, 1, 1, -1, 1])
    for other in [
        barlow_twins(z1 * scale + shift, z2),
        barlow_twins(z1[rows], z2[rows]),
        barlow_twins(z1[:, columns], z2[:, columns]),
        barlow_twins(z1 * sign, z2 * sign),
        barlow_twins(z2, z1),
    ]:
        torch.testing.assert_close(other, value, rtol=0, atol=1e-4)


def test_weight_and_scale() -> None:
    z1, z2 = draw(16, 6), draw(16, 6, seed=1)
    terms = barlow_twins_terms(z1, z2)
    assert barlow_twins(z1, z2, 0.0) == terms.invariance
    torch.testing.assert_close(barlow_twins(z1, z2, 0.2, scale=0.1), 0.1 * (terms.invariance + 0.2 * terms.redundancy))


def test_independent_views_have_the_expected_size() -> None:
    rows, width, weight = 200, 40, 0.05
    values = [barlow_twins(draw(rows, width, seed=s), draw(rows, width, seed=1000 + s), weight) for s in range(10)]
    expected = width * (1 + 1 / rows) + weight * width * (width - 1) / rows
    assert torch.stack(values).mean().item() == pytest.approx(expected, rel=0.02)


def test_unbiased_form_cannot_reach_one() -> None:
    z = draw(10, 4)
    diagonal = cross_correlation(z, z, unbiased=True).diagonal()
    torch.testing.assert_close(diagonal, torch.full_like(diagonal, 0.9), rtol=0, atol=1e-4)
    assert cross_correlation(z, z).diagonal().min() > 0.9999


def test_parts() -> None:
    z = standardize(draw(50, 3) * 7 + 2)
    torch.testing.assert_close(z.mean(0), torch.zeros(3, dtype=z.dtype), rtol=0, atol=1e-12)
    torch.testing.assert_close(z.var(0, correction=0), torch.ones(3, dtype=z.dtype), rtol=0, atol=1e-5)
    square = torch.arange(9.0).view(3, 3)
    assert off_diagonal(square).flatten().tolist() == [1, 2, 3, 5, 6, 7]
    with pytest.raises(DataError, match=r"at least 2 rows, not \(1, 3\)"):
        standardize(torch.ones(1, 3))
    with pytest.raises(DataError, match=r"not \(4, 3\) and \(4, 2\)"):
        barlow_twins(torch.ones(4, 3), torch.ones(4, 2))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("case", ["zero", "identical", "large"])
def test_awkward_batches_stay_finite(dtype: torch.dtype, case: str) -> None:
    z = {"zero": draw(8, 300) * 0, "identical": draw(1, 300).expand(8, -1), "large": draw(8, 300) * 1e4}[case]
    z1, z2 = (z.to(dtype).clone().requires_grad_() for _ in range(2))
    with torch.autocast("cpu", torch.bfloat16):
        value = barlow_twins(z1, z2)
        value.backward()
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert z1.grad is not None
    assert z1.grad.isfinite().all()
