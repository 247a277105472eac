"""What every detector must keep besides what every defense must: scores, a threshold, and what an attacker meets."""

import copy

import pytest
import torch
from torch import Tensor, nn

from guards import Shaken
from walk import of_role
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import Draws
from withstand.core.victims.victim import Victim
from withstand.defenses.detector import Detector
from withstand.defenses.neighbourhood_detector import NeighbourhoodDetector

every_detector = pytest.mark.parametrize("kind", of_role(Detector), ids=lambda kind: kind.__name__)


def made(kind: type[Detector]) -> tuple[Detector, Tensor]:
    guard = kind.example()
    return guard, guard.example_inputs()


@every_detector
def test_a_verdict_needs_a_threshold_and_follows_the_score(kind: type[Detector]) -> None:
    guard, x = made(kind)
    assert guard(x).accepted is None
    outcome = guard.fit(x)(x)
    assert outcome.score is not None
    assert outcome.accepted is not None
    assert torch.isfinite(outcome.score).all()
    assert torch.equal(outcome.x_used, x)
    assert torch.equal(outcome.accepted, guard.predict(x))
    model = guard.victim.model
    assert isinstance(model, nn.Module)
    assert torch.equal(outcome.logits, copy.deepcopy(model).eval()(x))


@every_detector
@pytest.mark.parametrize("fpr", [0.0, 0.05, 0.1, 0.34, 0.5])
def test_the_threshold_rejects_what_was_asked_for(kind: type[Detector], fpr: float) -> None:
    guard, _ = made(kind)
    x = guard.example_inputs(60)
    rejected = (~guard.fit(x, fpr=fpr).predict(x)).double().mean().item()
    assert fpr - 1 / 60 <= rejected <= fpr + 1e-9


@every_detector
def test_a_score_does_not_depend_on_the_batch_and_asking_twice_gives_nothing_new(kind: type[Detector]) -> None:
    guard, x = made(kind)
    whole = guard.score(x)
    assert torch.equal(guard.score(x), whole)
    rows = torch.tensor([7, 3, 21])
    torch.testing.assert_close(guard.score(x[rows]), whole[rows])
    draws = Draws(5, torch.arange(30))
    given = guard.score(x, draws)
    torch.testing.assert_close(guard.score(x[rows], draws[rows]), given[rows])
    assert torch.equal(guard.score(x, Draws(5, torch.arange(30))), given)


@every_detector
def test_what_an_attacker_meets_is_what_judges_but_for_the_draws(kind: type[Detector]) -> None:
    guard, x = made(kind)
    guard.fit(x)
    surface = guard.exposed()
    with surface.held(), torch.enable_grad():
        point = x.clone().requires_grad_(True)
        outputs = surface(point)
        assert isinstance(outputs, dict)
        assert outputs["lead"].shape == (30,)
        assert outputs["appeal"].shape == outputs["logits"].shape == (30, 5)
        slope = torch.autograd.grad(outputs["appeal"].amax(1).sum(), point)[0]
    assert torch.isfinite(slope).all()
    assert slope.flatten(1).any(1).double().mean() > 0.9
    torch.testing.assert_close(outputs["logits"], guard(x).logits)
    lead = guard.score(x) - guard.threshold
    draws_nothing = torch.equal(guard.score(x, Draws(5, torch.arange(30))), guard.score(x))
    assert torch.allclose(outputs["lead"], lead, atol=1e-5) == draws_nothing


@every_detector
def test_bad_settings_are_refused(kind: type[Detector]) -> None:
    guard, x = made(kind)
    with pytest.raises(ConfigError, match="streams for 3 samples"):
        guard.score(x, Draws(0, torch.arange(3)))
    for needs_a_threshold in (guard.predict, lambda _: guard.exposed()):
        with pytest.raises(ConfigError, match="no threshold"):
            needs_a_threshold(x)
    with pytest.raises(ConfigError, match="fpr"):
        guard.fit(x, fpr=1.0)
    with pytest.raises(DataError, match="needs clean inputs"):
        guard.fit(x[:0])


def test_the_range_is_the_victims() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(6, 4))
    guard = NeighbourhoodDetector(
        net, None, nn.Linear(4, 4), Victim(net, low=-5, high=5), view=Shaken(), neighbours=3, rank=1
    )
    surface = guard.fit(torch.randn(20, 6).clamp(-5, 5)).exposed()
    assert (surface.low, surface.high) == (-5, 5)
