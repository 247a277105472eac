"""What every defense in the package must keep, whatever it looks at."""

import pytest
import torch
from torch import Tensor, nn

from guards import Shaken, detector
from victims import random_pictures, small_net
from walk import of_role
from withstand.attacks.inputs.gradient import FGSM
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import Draws
from withstand.core.roles import Defense, Outcome
from withstand.core.threat import Ball
from withstand.core.victim import Victim
from withstand.defenses.baselines import Mahalanobis, MaxSoftmax, NearestFeatures
from withstand.defenses.detector import Detector, Gauge, Reading
from withstand.defenses.neighbourhood_detector import NeighbourhoodDetector


class Confidence(Gauge):
    """A gauge of a user's own."""

    def forward(self, x: Tensor, logits: Tensor, draws: Draws) -> Reading:
        return Reading(logits.amax(1), logits)


def body(net: nn.Module) -> nn.Module:
    return nn.Sequential(*list(net)[:-1])


def made(kind: type[Defense]) -> Detector:
    """Return a small defense in float64; a new one must be added here."""
    net = small_net(dtype=torch.float64)
    clean = random_pictures(40, dtype=torch.float64)[0]
    if kind is NeighbourhoodDetector:
        return detector(victim=net)
    if kind is MaxSoftmax:
        return MaxSoftmax(net)
    if kind is Detector:
        return Detector(net, Confidence())
    assert kind in (NearestFeatures, Mahalanobis), f"the contract does not know how to make {kind.__name__}"
    return kind(net, body(net), clean)


every_defense = pytest.mark.parametrize("kind", of_role(Defense), ids=lambda kind: kind.__name__)


def inputs(count: int = 30) -> Tensor:
    return random_pictures(count, dtype=torch.float64)[0]


def test_defenses_are_found() -> None:
    assert {"NeighbourhoodDetector", "MaxSoftmax"} <= {kind.__name__ for kind in of_role(Defense)}


@every_defense
def test_an_outcome_is_whole(kind: type[Defense]) -> None:
    guard, x = made(kind), inputs()
    before = guard(x)
    assert before.accepted is None
    outcome = guard.fit(x)(x)
    assert isinstance(outcome, Outcome)
    assert outcome.logits.shape == (30, 5)
    assert outcome.score.shape == outcome.accepted.shape == (30,)
    assert torch.isfinite(outcome.score).all()
    assert torch.equal(outcome.x_used, x)
    assert torch.equal(outcome.accepted, guard.predict(x))
    assert torch.equal(outcome.logits, guard.victim.model.eval()(x))


@every_defense
@pytest.mark.parametrize("fpr", [0.0, 0.05, 0.1, 0.34, 0.5])
def test_the_threshold_rejects_what_was_asked_for(kind: type[Defense], fpr: float) -> None:
    guard, x = made(kind), inputs(60)
    rejected = (~guard.fit(x, fpr=fpr).predict(x)).double().mean().item()
    assert fpr - 1 / 60 <= rejected <= fpr + 1e-9


@every_defense
def test_a_score_does_not_depend_on_the_batch_and_asking_twice_gives_nothing_new(kind: type[Defense]) -> None:
    guard, x = made(kind), inputs()
    whole = guard.score(x)
    assert torch.equal(guard.score(x), whole)
    rows = torch.tensor([7, 3, 21])
    torch.testing.assert_close(guard.score(x[rows]), whole[rows], rtol=0, atol=1e-12)
    draws = Draws(5, torch.arange(30))
    given = guard.score(x, draws)
    torch.testing.assert_close(guard.score(x[rows], draws[rows]), given[rows], rtol=0, atol=1e-12)
    assert torch.equal(guard.score(x, Draws(5, torch.arange(30))), given)


@every_defense
def test_networks_and_the_global_generator_are_left_as_found(kind: type[Defense]) -> None:
    guard, x = made(kind), inputs()
    model = guard.victim.model.train()
    before, generator = {name: value.clone() for name, value in model.state_dict().items()}, torch.get_rng_state()
    guard.fit(x)(x)
    assert all(module.training for module in model.modules())
    assert all(weight.requires_grad for weight in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)


@every_defense
def test_what_an_attacker_meets_is_what_judges_but_for_the_draws(kind: type[Defense]) -> None:
    guard, x = made(kind), inputs()
    guard.fit(x)
    surface = guard.exposed()
    with surface.held(), torch.enable_grad():
        point = x.clone().requires_grad_(True)
        outputs = surface(point)
        assert outputs["lead"].shape == (30,)
        assert outputs["appeal"].shape == outputs["logits"].shape == (30, 5)
        slope = torch.autograd.grad(outputs["appeal"].amax(1).sum(), point)[0]
    assert torch.isfinite(slope).all()
    assert slope.flatten(1).any(1).double().mean() > 0.9
    torch.testing.assert_close(outputs["logits"], guard(x).logits)
    if kind is not NeighbourhoodDetector:  # nothing is drawn
        torch.testing.assert_close(outputs["lead"], guard.score(x) - guard.threshold)
    else:
        assert not torch.equal(outputs["lead"], guard.score(x) - guard.threshold)
    assert FGSM(Ball("linf", 0.1))(surface, x, torch.zeros(30, dtype=torch.int64)).x.shape == x.shape


@every_defense
def test_bad_inputs_are_refused(kind: type[Defense]) -> None:
    guard, x = made(kind), inputs()
    for wrong, message in ((x * 255, "outside"), (x[:0], "no inputs"), (x.long(), "floating")):
        with pytest.raises(DataError, match=message):
            guard.score(wrong)
    with pytest.raises(ConfigError, match="streams for 3 samples"):
        guard.score(x, Draws(0, torch.arange(3)))
    with pytest.raises(ConfigError, match="no threshold"):
        guard.predict(x)
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
