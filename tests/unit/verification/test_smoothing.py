import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from withstand.core.errors import ConfigError, DataError
from withstand.core.part import build, describe
from withstand.core.victims.victim import Victim
from withstand.verification.smoothing import ABSTAIN, Smoothing, lower_bound, radius_of


class Linear(nn.Module):
    """Class 1 where the first coordinate is above 0.5."""

    def forward(self, x: Tensor) -> Tensor:
        lead = x.flatten(1)[:, 0] - 0.5
        return torch.stack([-lead, lead], dim=1)


def test_a_linear_classifier_is_certified_up_to_its_own_distance() -> None:
    distances = torch.linspace(0.02, 0.4, 12)
    x = torch.full((12, 3), 0.5)
    x[:, 0] += torch.where(torch.arange(12) % 2 == 0, distances, -distances)
    found = Smoothing(sigma=0.25, samples=10000, batch=5000).certify(Victim(Linear()), x, generator=4)
    assert found.prediction.tolist() == [1, 0] * 6
    assert bool((found.radius < distances).all())  # each fails with probability 0.001
    assert bool((found.radius > distances - 0.03).all())


def test_the_bound_is_the_exact_binomial_one() -> None:
    for count in (1, 40, 77, 99):
        bound = float(lower_bound(torch.tensor([count]), 100, 0.01))
        assert stats.binom.sf(count - 1, 100, bound) == pytest.approx(0.01, rel=1e-9)
    assert float(lower_bound(torch.tensor([0]), 100, 0.01)) == 0
    assert float(lower_bound(torch.tensor([100]), 100, 0.01)) == pytest.approx(0.01 ** (1 / 100), rel=1e-12)


def test_the_radius_in_closed_form() -> None:
    p = torch.tensor([0.5, 0.9, 0.999])
    assert radius_of(p, 0.3).tolist() == pytest.approx((0.3 * stats.norm.ppf(p.double().numpy())).tolist(), rel=1e-12)
    smoothing = Smoothing(sigma=0.5, samples=1000)
    assert smoothing.largest == pytest.approx(0.5 * stats.norm.ppf(0.001 ** (1 / 1000)), rel=1e-12)


def test_a_point_on_the_boundary_is_left_open() -> None:
    x = torch.full((8, 2), 0.5)
    smoothing = Smoothing(samples=500)
    found = smoothing.certify(Victim(Linear()), x, generator=1)
    assert found.prediction.tolist() == [ABSTAIN] * 8
    assert found.radius.tolist() == [0.0] * 8
    assert smoothing.predict(Victim(Linear()), x, generator=1).tolist() == [ABSTAIN] * 8
    assert not bool(found.certified(torch.zeros(8, dtype=torch.int64), 0.0).any())


def test_far_points_are_predicted_and_the_curve_falls() -> None:
    x = torch.tensor([[0.1, 0.5], [0.9, 0.5], [0.6, 0.5]])
    smoothing = Smoothing(sigma=0.1, samples=400)
    assert smoothing.predict(Victim(Linear()), x, generator=1)[:2].tolist() == [0, 1]
    curve = smoothing.certify(Victim(Linear()), x, generator=1).curve(torch.tensor([0, 1, 1]), (0.2, 0.0, 0.1))
    accuracy = curve.column("certified accuracy")
    assert curve.column("eps") == (0.0, 0.1, 0.2)
    assert list(accuracy) == sorted(accuracy, reverse=True)
    assert accuracy[0] == 1.0


def test_samples_do_not_depend_on_their_batch_and_the_global_generator_rests() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    x = torch.rand(6, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    state = torch.get_rng_state()
    whole = Smoothing(samples=130, selection=20).certify(Victim(network), x, generator=5)
    small = Smoothing(samples=130, selection=20, batch=60).certify(Victim(network), x[:2], generator=5)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(whole.counts[:2], small.counts)
    assert build(describe(Smoothing(sigma=0.3))) == Smoothing(sigma=0.3)


def test_what_cannot_be_smoothed_is_said() -> None:
    with pytest.raises(ConfigError, match="sigma must be positive"):
        Smoothing(sigma=0)
    with pytest.raises(ConfigError, match="alpha"):
        Smoothing(alpha=1)
    with pytest.raises(DataError, match="logits"):
        Smoothing().certify(Victim(nn.Flatten()), torch.rand(2, 1))
    with pytest.raises(DataError, match="no inputs"):
        Smoothing().certify(Victim(Linear()), torch.rand(0, 2))
