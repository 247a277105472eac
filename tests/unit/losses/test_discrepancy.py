"""The maximum mean discrepancy against the plain double sum."""

import pytest
import torch

from withstand.core.errors import ConfigError, DataError
from withstand.losses.discrepancy import mmd

SIGMAS = (0.0001, 0.001, 0.01, 0.1, 1, 5, 10, 15, 20, 25, 30, 100)
"""As ColloSSL's code lists them."""

generator = torch.Generator().manual_seed(0)
X, Y = torch.randn(5, 7, generator=generator).double(), torch.randn(6, 7, generator=generator).double() + 0.5


def test_by_the_double_sum() -> None:
    def kernel(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        squared = (a[:, None] - b[None]).square().sum(2)
        return sum((-squared / (2 * sigma)).exp() for sigma in SIGMAS)  # type: ignore[return-value]

    expected = kernel(X, X).mean() + kernel(Y, Y).mean() - 2 * kernel(X, Y).mean()
    torch.testing.assert_close(mmd(X, Y), expected, rtol=1e-10, atol=1e-10)


def test_it_is_a_distance_of_samples() -> None:
    assert mmd(X, X).item() == pytest.approx(0, abs=1e-9)
    torch.testing.assert_close(mmd(X, Y), mmd(Y, X))
    torch.testing.assert_close(mmd(X.flip(0), Y), mmd(X, Y))
    assert mmd(X, X + 0.3) < mmd(X, X + 1.0) < mmd(X, X + 3.0)


def test_float32_far_from_0_finds_what_float64_does() -> None:
    torch.testing.assert_close(mmd((X + 1000).float(), (Y + 1000).float()).double(), mmd(X, Y), rtol=0, atol=2e-3)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(DataError, match="one length"):
        mmd(X, Y[:, :3])
    with pytest.raises(DataError, match="one length"):
        mmd(X[:, :3], Y)
    with pytest.raises(DataError, match="one length"):
        mmd(X[:0], Y)
    with pytest.raises(ConfigError, match="widths"):
        mmd(X, Y, (1.0, 0.0))
