import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from withstand.core.errors import ConfigError, DataError
from withstand.losses.agreement.clustering import sinkhorn, swapped_cross_entropy

EXACT = {"rtol": 0, "atol": 1e-10}


def scores(samples: int = 6, prototypes: int = 4, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.rand(samples, prototypes, generator=generator, dtype=torch.float64) - 1).requires_grad_()


def plain_sinkhorn(given: Tensor, epsilon: float, iterations: int) -> Tensor:
    """The paper's appendix A, in the exponentials themselves."""
    q = (given / epsilon).exp().T
    prototypes, samples = q.shape
    q = q / q.sum()
    for _ in range(iterations):
        q = q / q.sum(1, keepdim=True) / prototypes
        q = q / q.sum(0, keepdim=True) / samples
    return (q * samples).T


@pytest.mark.parametrize("iterations", [1, 3, 10])
@pytest.mark.parametrize("epsilon", [0.05, 0.5])
def test_sinkhorn_is_the_papers(epsilon: float, iterations: int) -> None:
    given = scores()
    found = sinkhorn(given, epsilon, iterations)
    torch.testing.assert_close(found, plain_sinkhorn(given.detach(), epsilon, iterations), **EXACT)
    assert not found.requires_grad


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 9), st.integers(2, 9), st.floats(1e-3, 10), st.integers(0, 1000))
def test_samples_sum_to_1_and_prototypes_share_alike(samples: int, prototypes: int, epsilon: float, seed: int) -> None:
    found = sinkhorn(scores(samples, prototypes, seed), epsilon, 3)
    assert found.isfinite().all()
    torch.testing.assert_close(found.sum(1), torch.ones(samples, dtype=torch.float64))
    many = sinkhorn(scores(samples, prototypes, seed), 0.5, 300)
    torch.testing.assert_close(many.sum(0), torch.full((prototypes,), samples / prototypes, dtype=torch.float64))


def test_equal_scores_are_shared_evenly() -> None:
    torch.testing.assert_close(sinkhorn(torch.zeros(5, 4), 0.05), torch.full((5, 4), 0.25))


@pytest.mark.parametrize("views", [2, 4])
def test_swapped_prediction(views: int) -> None:
    given = [scores(seed=seed) for seed in range(views)]
    codes = [scores(seed=10 + seed).softmax(1).detach() for seed in range(2)]
    plain = []
    for i, code in enumerate(codes):
        per_view = [-(code * (given[v] / 0.1).log_softmax(1)).sum(1).mean() for v in range(views) if v != i]
        plain.append(torch.stack(per_view).mean())
    expected = torch.stack(plain).mean()  # as SwAV counts; DINO's sum over pairs, over their number, is the same
    found = swapped_cross_entropy(given, codes, 0.1)
    torch.testing.assert_close(found, expected, **EXACT)
    for a, b in zip(torch.autograd.grad(found, given), torch.autograd.grad(expected, given), strict=True):
        torch.testing.assert_close(a, b, **EXACT)


def test_swapped_prediction_at_chance() -> None:
    flat = [torch.zeros(3, 7), torch.zeros(3, 7)]
    assert swapped_cross_entropy(flat, [scores(3, 7).softmax(1)]).item() == pytest.approx(math.log(7), rel=1e-6)
    low = [view.bfloat16() for view in flat]
    assert swapped_cross_entropy(low, [flat[0].softmax(1)]).dtype == torch.float32


def test_mistakes_are_told() -> None:
    one = scores()
    with pytest.raises(DataError, match="1 views cannot be told"):
        swapped_cross_entropy([one], [one])
    with pytest.raises(ConfigError, match="temperature must be above 0, not 0"):
        swapped_cross_entropy([one, one], [one], 0)
    with pytest.raises(ConfigError, match="epsilon must be above 0"):
        sinkhorn(one, 0)


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_shares_fall_as_a_power_of_the_prototypes_number(power: float) -> None:
    given = torch.randn(40, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    shares = torch.arange(1, 7, dtype=torch.float64) ** -power
    found = sinkhorn(given, 0.5, 300, power)
    torch.testing.assert_close(found.sum(1), torch.ones(40, dtype=torch.float64))
    torch.testing.assert_close(found.mean(0), shares / shares.sum(), atol=1e-6, rtol=0)
    torch.testing.assert_close(sinkhorn(given + 3, 0.5, 4, power), sinkhorn(given, 0.5, 4, power))
    assert torch.equal(sinkhorn(given, 0.5, 4, 0.0), sinkhorn(given, 0.5, 4))


def test_a_power_below_0_is_refused() -> None:
    with pytest.raises(ConfigError, match="power must be at least 0"):
        sinkhorn(torch.zeros(4, 3), power=-1.0)
