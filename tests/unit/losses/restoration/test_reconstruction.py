"""Errors of what was hidden, against their closed forms."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from withstand.losses.restoration.reconstruction import (
    absolute_error_where,
    masked_patch_error,
    scaled_cosine_error,
    squared_error,
)


def rows(seed: int = 0) -> Tensor:
    return torch.randn(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("alpha", [1.0, 2.0, 3.0])
def test_same_direction_is_right_and_the_opposite_is_worst(alpha: float) -> None:
    x = rows()
    torch.testing.assert_close(scaled_cosine_error(3.0 * x, x, alpha), torch.zeros(5).double(), atol=1e-14, rtol=0)
    torch.testing.assert_close(scaled_cosine_error(-x, x, alpha), torch.full((5,), 2.0**alpha).double())


def test_scale_of_either_side_does_not_count() -> None:
    x, z = rows(0), rows(1)
    scale = torch.rand(5, 1, dtype=torch.float64) + 0.1
    expected = scaled_cosine_error(z, x, 2.0)
    torch.testing.assert_close(scaled_cosine_error(z * scale, x, 2.0), expected)
    torch.testing.assert_close(scaled_cosine_error(z, x * scale, 2.0), expected)


def test_alpha_one_is_one_less_cosine() -> None:
    x, z = rows(0), rows(1)
    torch.testing.assert_close(scaled_cosine_error(z, x, 1.0), 1 - torch.cosine_similarity(z, x))


def test_alpha_two_on_unit_rows_is_the_squared_distance_squared() -> None:
    x, z = (torch.nn.functional.normalize(rows(seed)) for seed in (0, 1))
    torch.testing.assert_close(scaled_cosine_error(z, x, 2.0), ((x - z).square().sum(1) / 2) ** 2)


def test_the_gradient_is_orthogonal_to_the_prediction() -> None:
    x, z = rows(0), rows(1).requires_grad_()
    (gradient,) = torch.autograd.grad(scaled_cosine_error(z, x, 3.0).sum(), z)
    torch.testing.assert_close((gradient * z).sum(1), torch.zeros(5).double(), atol=1e-13, rtol=0)


def test_easy_rows_count_less_when_alpha_grows() -> None:
    x = rows()
    sizes = []
    for alpha in (1.0, 2.0, 3.0):
        z = (x + 1e-3 * rows(1)).requires_grad_()
        (gradient,) = torch.autograd.grad(scaled_cosine_error(z, x, alpha).sum(), z)
        sizes.append(gradient.norm().item())
    assert sizes[0] > 100 * sizes[1] > 1e4 * sizes[2] > 0


def test_a_zero_row_has_error_one_and_the_steep_slope_of_the_official_code() -> None:
    x = rows()
    z = torch.zeros(5, 7, dtype=torch.float64, requires_grad=True)
    error = scaled_cosine_error(z, x, 3.0)
    assert torch.equal(error, torch.ones(5).double())
    (gradient,) = torch.autograd.grad(error.sum(), z)
    official = (1 - (normalize(z) * normalize(x)).sum(1)) ** 3  # torch's own division by at least 1e-12
    torch.testing.assert_close(gradient, torch.autograd.grad(official.sum(), z)[0])
    assert gradient.norm(dim=1).min() > 1e12
    assert torch.equal(scaled_cosine_error(x, torch.zeros_like(x)), torch.ones(5).double())


def test_twice_differentiable() -> None:
    x, z = rows(0), rows(1).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda z: scaled_cosine_error(z, x, 2.0), z)


def test_squared_error_is_the_mean_over_features() -> None:
    x, z = rows(0), rows(1)
    torch.testing.assert_close(squared_error(z, x), (x - z).square().mean(1))


def test_hidden_patches_by_a_plain_loop() -> None:
    patches, told = rows().view(1, 5, 7) * 3 + 2, rows(1)[:2].view(1, 2, 7)
    hidden = torch.tensor([[3, 1]])
    plain, scaled = [], []
    for place, patch in enumerate((patches[0, 3], patches[0, 1])):
        plain.append((told[0, place] - patch).square().mean())
        even = (patch - patch.mean()) / (patch.var(unbiased=True) + 1e-6).sqrt()
        scaled.append((told[0, place] - even).square().mean())
    torch.testing.assert_close(masked_patch_error(told, patches, hidden, normalise=False), torch.stack(plain)[None])
    torch.testing.assert_close(masked_patch_error(told, patches, hidden), torch.stack(scaled)[None])


def test_absolute_errors_count_where_something_was_hidden() -> None:
    x, z = rows(0), rows(1)
    hidden = x > 0.3
    assert 0 < int(hidden.sum()) < hidden.numel()
    torch.testing.assert_close(absolute_error_where(z, x, hidden), (z - x)[hidden].abs().mean())
    assert absolute_error_where(z, x, hidden & False).item() == 0
