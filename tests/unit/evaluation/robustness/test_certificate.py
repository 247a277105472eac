"""Certificates: proven, broken and undecided add up, proofs and attacks agree, and smoothing is told apart."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from victims import digits
from withstand.core.errors import ConfigError, DataError
from withstand.core.findings.finding import Finding
from withstand.core.part import build, describe
from withstand.core.threat import Ball
from withstand.data.arrays.source import ArraySource
from withstand.evaluation.robustness.audit_case import ball_name
from withstand.evaluation.robustness.certificates.certificate import Certificate
from withstand.evaluation.robustness.certificates.smoothed import SmoothedCertificate
from withstand.verification.smoothing import Smoothing
from withstand.verification.solvers import certify_by

SETTINGS = Certificate(Ball("linf", 0.03), samples=16, radii=4, halvings=4)


@pytest.fixture(scope="module")
def found() -> Finding:
    victim, x, y = digits()
    return SETTINGS.evaluate(victim, ArraySource(x, y))


def test_shares_add_up_and_the_curves_keep_their_order(found: Finding) -> None:
    shares = [found.numbers[f"{name} share, linf 7.65/255"] for name in ("proven", "broken", "undecided")]
    assert sum(shares) == pytest.approx(1)
    table = found.tables["proven and attacked accuracy against eps, linf"]
    assert table.column("eps") == pytest.approx((0.0, 0.015, 0.03, 0.045, 0.06))
    proven, attacked = table.column("proven accuracy"), table.column("accuracy under attack")
    assert list(proven) == sorted(proven, reverse=True)
    assert all(safe <= left for safe, left in zip(proven, attacked, strict=True))
    assert proven[0] == attacked[0] == found.numbers["clean accuracy"]
    assert sum(found.tables["verdicts"].column("samples")) == 16
    assert found.checks[0].passed is True
    assert build(describe(SETTINGS)) == SETTINGS


def small_net() -> tuple[nn.Module, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).eval()
    with torch.no_grad():
        for value in net.parameters():
            value.copy_(torch.randn(value.shape, generator=generator))
    return net, torch.rand(12, 4, generator=generator)


def test_exact_solvers_decide_what_bounds_leave_open() -> None:
    net, x = small_net()
    ball = Ball("linf", 0.12)
    exact = certify_by(net, x, ball=ball, method="milp")
    search = certify_by(net, x, ball=ball, method="bab")
    assert [one.status for one in exact] == [one.status for one in search]
    assert {"safe", "unsafe"} == {one.status for one in exact}
    with pytest.raises(ConfigError, match="norm linf"):
        certify_by(net, x, ball=Ball("l2", 0.1), method="milp")
    with pytest.raises(ConfigError, match="'crown'"):
        certify_by(net, x, ball=ball, method="crwn")  # type: ignore[arg-type]


def test_a_grid_is_a_proof_only_with_its_cells() -> None:
    net, x = small_net()
    ball = Ball("linf", 0.12)
    exact = certify_by(net, x, ball=ball, method="milp")
    whole = certify_by(net, x, ball=ball, method="grid", spans=3)
    assert [one.status for one in whole] == [one.status for one in exact]
    assert "grid" in {one.method for one in whole}
    bare = certify_by(net, x, ball=ball, method="grid", features=1)
    for one, other in zip(bare, exact, strict=True):
        assert one.status in (other.status, "unknown")
        assert one.status != "unknown" or "no_counterexample_on_grid" in one.reason
    assert any(one.status == "unknown" for one in bare)


def test_a_grid_that_cannot_be_held_is_refused_with_its_count() -> None:
    victim, x, y = digits()
    with pytest.raises(ConfigError, match=r"64 dimensions has 3.43e\+30 points, more than 2,000,000: take fewer"):
        certify_by(victim, x[:2], y[:2], Ball("linf", 0.03), method="grid")
    with pytest.raises(ConfigError, match=r"784 dimensions has 3\^784 points"):
        certify_by(nn.Linear(784, 2).eval(), torch.rand(1, 784), ball=Ball("linf", 0.03), method="grid")
    with pytest.raises(ConfigError, match="features must be at least 1, not 0"):
        replace(SETTINGS, features=0)
    with pytest.raises(ConfigError, match="timeout must be above 0 seconds, not 0"):
        replace(SETTINGS, timeout=0)


def test_the_broken_radius_is_no_point_of_the_grid(found: Finding) -> None:
    table = found.tables["samples"]
    broken = [value for value in table.column("smallest broken radius") if value not in (None, 0.0)]
    assert any(min(abs(value - tried) for tried in (0.015, 0.03, 0.045, 0.06)) > 1e-5 for value in broken)
    for proven, value in zip(
        table.column("largest proven radius"), table.column("smallest broken radius"), strict=True
    ):
        assert value is None or proven <= value


def test_a_softmax_at_the_end_is_stripped_and_said() -> None:
    victim, x, y = digits()
    assert isinstance(victim.model, nn.Module)
    ending = victim.like(nn.Sequential(victim.model, nn.Softmax(1)).eval())
    found = replace(SETTINGS, samples=4).evaluate(ending, ArraySource(x, y))
    (said,) = [check for check in found.checks if "answers as the model does" in check.name]
    assert said.passed
    assert "softmax at the end stripped" in said.detail


def test_smoothing_says_that_it_is_no_proof() -> None:
    victim, x, y = digits()
    settings = SmoothedCertificate(0.1, Smoothing(0.1, samples=100, selection=20), samples=12)
    found = settings.evaluate(victim, ArraySource(x, y))
    curve = found.tables["certified accuracy against eps, l2"].column("certified accuracy")
    assert list(curve) == sorted(curve, reverse=True)
    assert found.numbers["certified accuracy, l2 0.1"] <= found.numbers["clean accuracy, smoothed"]
    assert "nothing of the network" in str(found.protocol["certified"])


@pytest.mark.thorough
@pytest.mark.parametrize("method", ["auto", "ibp", "crown-ibp", "alpha-crown", "bab", "milp", "smt"])
def test_a_headline_and_its_curve_say_the_same(method: str) -> None:
    net, x = small_net()
    for eps, radii in ((0.12, 4), (0.05, 3)):
        settings = Certificate(Ball("linf", eps), method=method, samples=12, radii=radii, halvings=3, timeout=4)  # type: ignore[arg-type]
        found = settings.evaluate(net, ArraySource(x, net(x).argmax(1)))
        name = f"proven share, {ball_name('linf', eps)}"
        table = found.tables["proven and attacked accuracy against eps, linf"]
        at = dict(zip(table.column("eps"), table.column("proven accuracy"), strict=True))
        assert at[eps] == found.numbers[name]
        assert found.checks[0].passed, found.checks[0]
        assert method in str(found.protocol["curves"])


def test_a_median_at_the_end_of_its_curve_is_a_lower_bound() -> None:
    net, x = small_net()
    source = ArraySource(x, net(x).argmax(1))
    near = Certificate(Ball("linf", 1e-4), samples=12).evaluate(net, source).numbers
    assert near["median proven radius, at least"] == near["median broken radius, at least"] == 2e-4
    far = Certificate(Ball("linf", 0.3), samples=12).evaluate(net, source).numbers
    assert 0 < far["median proven radius"] <= far["median broken radius"] < 0.6


def test_what_cannot_be_certified_is_refused() -> None:
    victim, x, y = digits()
    with pytest.raises(ConfigError, match="eps above 0"):
        replace(SETTINGS, ball=Ball("linf", 0.0))
    with pytest.raises(DataError, match="no labels"):
        SETTINGS.evaluate(victim, ArraySource(x))
    with pytest.raises(ConfigError, match="train mode"):
        SETTINGS.evaluate(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).train(), ArraySource(x, y))
