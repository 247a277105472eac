import pytest
import torch
from torch import Tensor, nn

from withstand.attacks.autoattack.apgd import APGD
from withstand.attacks.autoattack.autoattack import AutoAttack
from withstand.core.errors import ConfigError, DataError
from withstand.core.threat import Ball
from withstand.core.victims.victim import Victim
from withstand.verification.certify import certify
from withstand.verification.prover import Prover, certified_radius


def classifier(seed: int, wide: int = 10) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, wide), nn.ReLU(), nn.Linear(wide, 4)).eval()


def samples(seed: int, count: int = 24) -> Tensor:
    return torch.rand(count, 3, 2, 2, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_certified_samples_withstand_and_counterexamples_are_real(norm: str) -> None:
    model, x = classifier(0), samples(0)
    y = model(x).argmax(1)
    y[:2] = (y[:2] + 1) % 4
    ball = Ball(norm, 0.06 if norm == "linf" else 0.15)  # type: ignore[arg-type]
    verdicts = certify(Victim(model), x, y, ball, method="bab" if norm == "linf" else "auto", timeout=20)
    safe = torch.tensor([verdict.status == "safe" for verdict in verdicts])
    broken = APGD(ball, steps=100, restarts=2)(Victim(model), x, y).success
    assert not (safe & broken).any()
    assert safe.any()
    if norm == "linf":
        assert {verdict.status for verdict in verdicts} == {"safe", "unsafe"}
    for row, verdict in enumerate(verdicts):
        if verdict.counterexample is not None:
            point = verdict.counterexample
            assert point.shape == x[row].shape
            assert ball.size((point - x[row])[None]) <= ball.eps * (1 + 1e-5)
            assert model(point[None].float()).argmax() != y[row]
        if verdict.status == "safe":
            assert verdict.margin > 0
        if verdict.status == "unknown":
            assert verdict.reason
    assert verdicts[0].reason == "wrong before any change"


def test_a_linear_classifier_is_safe_to_its_exact_radius() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).double().eval()
    x = 0.4 + 0.2 * samples(1).double()
    y = model(x).argmax(1)
    weight = model[1].weight.detach()
    margins = model(x).gather(1, y[:, None]) - model(x)
    for norm, order in (("linf", 1), ("l2", 2), ("l1", torch.inf)):
        dual = torch.linalg.vector_norm(weight[y][:, None] - weight[None], ord=order, dim=2)
        exact = (margins / dual).masked_fill(dual == 0, torch.inf).amin(1)
        few = exact < 0.35  # the box of valid inputs is inactive
        found = certified_radius(model, x, y, Ball(norm, 0.4), method="crown", steps=20)  # type: ignore[arg-type]
        assert few.any()
        assert (found <= exact + 1e-9)[few].all()
        torch.testing.assert_close(found[few], exact[few], rtol=0, atol=1e-4)


def test_radii_shrink_with_looser_methods_and_wrong_samples_have_none() -> None:
    model, x = classifier(2, wide=30), samples(2)
    y = model(x).argmax(1)
    y[0] = (y[0] + 1) % 4
    tight, loose = (certified_radius(model, x, y, Ball("linf", 0.2), method=method) for method in ("crown", "ibp"))
    assert (loose <= tight).all()
    assert tight[0] == 0
    assert (tight[1:] > 0).any()


def test_a_prover_saves_autoattack_work_and_agrees_with_it() -> None:
    model, x = classifier(3), samples(3)
    y = model(x).argmax(1)
    ball = Ball("linf", 0.05)
    proven = AutoAttack(ball)(Victim(model), x, y, prover=Prover("crown"), checks=False)
    plain = AutoAttack(ball)(Victim(model), x, y, checks=False)
    assert proven.proven.any()
    assert proven.accuracy == plain.accuracy
    assert (plain.holds | ~proven.proven).all()
    assert proven.tallies[0].tried < plain.tallies[0].tried


def test_a_dead_network_and_a_ball_without_size_are_safe() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).eval()
    nn.init.zeros_(model[1].weight)
    model[1].bias.data.copy_(torch.tensor([0.0, 1.0, 0.5]))
    x = samples(4, 2)
    assert all(v.status == "safe" for v in certify(model, x, torch.ones(2, dtype=torch.long), Ball("linf", 1.0)))
    other = classifier(4)
    assert all(v.status == "safe" for v in certify(other, x, ball=Ball("linf", 0.0)))


def test_float32_never_certifies_what_exact_arithmetic_does_not() -> None:
    # Margins at the very edge: each class's exact worst margin is a few float32 roundings below or above 0.
    torch.manual_seed(5)
    hidden = nn.Linear(64, 64)
    model = nn.Sequential(hidden, nn.ReLU(), nn.Linear(64, 2)).eval()
    x = torch.rand(40, 64)
    from withstand.verification.bounds.margins import bound, margin_weights
    from withstand.verification.network.capture import capture
    from withstand.verification.specification.box import Region

    network = capture(model, x)
    weight = margin_weights(torch.zeros(40, dtype=torch.long), 2)
    region = Region.around(x, Ball("linf", 0.01))
    for method in ("ibp", "crown-ibp", "crown"):
        exact = bound(network, region, weight, method)
        single = bound(network.to(torch.float32), region, weight, method)
        assert (single <= exact).all()
        assert (exact - single).max() < 5e-3


def test_bad_settings_get_a_clear_line() -> None:
    model, x = classifier(6), samples(6, 2)
    with pytest.raises(ConfigError, match="did you mean 'crown'"):
        certify(model, x, method="crwon")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="timeout must be above 0"):
        certify(model, x, method="bab", timeout=0)
    with pytest.raises(ConfigError, match="is in train mode"):
        certify(classifier(6).train(), x)
    with pytest.raises(DataError, match=r"outside \[0, 1\]"):
        certify(model, x + 3)
    with pytest.raises(DataError, match="integer labels in"):
        certify(model, x, torch.tensor([0, 7]))
    with pytest.raises(ConfigError, match="targeted=False"):
        certify(model, x, ball=Ball("linf", 0.1, targeted=True))
