"""How detection is judged: closed forms of ROC and rejection, and attacks that know the detector on real digits."""

import math
from collections.abc import Sequence
from functools import cache

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from guards import Shaken, detector, pictures
from victims import digits, random_pictures, small_net
from withstand.attacks.adapted.evasion import AdaptivePGD, OrthogonalPGD, Unnoticed, without
from withstand.attacks.inputs.gradient import PGD
from withstand.core.batch import unit_range
from withstand.core.errors import ConfigError, DataError
from withstand.core.roles import Defense, Gradient, Outcome
from withstand.core.threat import Ball
from withstand.core.victims.victim import Victim
from withstand.data.arrays.source import ArraySource
from withstand.defenses.baselines import Mahalanobis, MaxSoftmax, NearestFeatures
from withstand.defenses.neighbourhood_detector import NeighbourhoodDetector
from withstand.evaluation.defenses.detection.detection import Detection, slope_check
from withstand.evaluation.defenses.detection.outcomes import Attempt, Judged, attack_table, roc_table, strength_check
from withstand.evaluation.defenses.detection.roc import auroc, rejected_at

scores = st.lists(st.sampled_from([-math.inf, -2.0, 0.0, 0.5, 3.0, math.inf]), min_size=1, max_size=9).map(torch.tensor)


@given(scores, scores)
def test_auroc_counts_pairs_and_ties_half(first: torch.Tensor, second: torch.Tensor) -> None:
    pairs = [1.0 if one > other else 0.5 if one == other else 0.0 for one in first for other in second]
    assert auroc(first, second) == pytest.approx(sum(pairs) / len(pairs), abs=1e-12)
    assert math.isnan(auroc(first, second[:0]))


@given(scores, scores, st.floats(0, 1))
def test_as_many_are_rejected_as_any_threshold_of_that_rate_rejects(
    clean: torch.Tensor, attacked: torch.Tensor, rate: float
) -> None:
    thresholds = [*torch.cat([clean, attacked]).tolist(), None]  # None: all are rejected
    shares = [
        [1.0 if at is None else (one < at).double().mean().item() for one in (clean, attacked)] for at in thresholds
    ]
    wanted = max(caught for alarms, caught in shares if alarms <= rate + 1e-9)
    assert rejected_at(clean, attacked, [rate]) == pytest.approx([wanted], abs=1e-12)
    assert math.isnan(rejected_at(clean, attacked[:0], [rate])[0])


def test_rejected_at_a_rate() -> None:
    clean = torch.arange(1.0, 21.0)
    attacked = torch.tensor([0.5, 1.5, 2.0, 30.0])
    assert rejected_at(clean, attacked, [0.05]) == [0.5]  # what lies below 2, with 1 in 20 clean ones
    assert rejected_at(clean, attacked, [0.0, 1.0]) == [0.25, 1.0]


def judged(right: Sequence[bool], accepted: Sequence[bool], score: Sequence[float]) -> Judged:
    return Judged(torch.zeros(len(right)), torch.tensor(right), torch.tensor(score), torch.tensor(accepted))


def attempt() -> Attempt:
    clean = judged([True, True, True, False, True], [True, True, False, True, True], [5, 4, 1, 3, 2])
    worse = judged([False, False, False, False, True], [True, False, False, True, False], [3, 0, 0.5, 3, 0.5])
    return Attempt("pgd", False, clean, worse, torch.zeros(5))


def test_who_is_handled() -> None:
    one = attempt()
    # deceived, accepted; deceived, rejected; rejected when clean; wrong when clean; rejected, not deceived
    assert one.handled.tolist() == [False, True, False, False, True]
    assert one.deceived.tolist() == [True, True, True, False, False]
    row = dict(zip((table := attack_table(one.clean, [one], 0.05)).columns, table.rows[0], strict=True))
    assert row["deceived"] == 3
    assert row["accuracy without rejection"] == 0.2
    assert row["accuracy with rejection"] == 0.4
    assert row["AUROC"] == auroc(torch.tensor([5.0, 4.0, 1.0, 2.0]), torch.tensor([3.0, 0.0, 0.5]))


def test_roc_rises_from_the_rejected_to_one() -> None:
    table = roc_table({"a": (torch.rand(50), torch.rand(40) - 0.3), "none": (torch.rand(5), torch.rand(0))})
    assert table.columns == ("false-positive rate", "a")
    curve = table.column("a")
    assert list(curve) == sorted(curve)
    assert curve[-1] == 1


def test_orthogonal_part() -> None:
    generator = torch.Generator().manual_seed(1)
    one, two = (torch.randn(6, 3, 4, 4, generator=generator) * 1e-20 for _ in range(2))
    kept = without(one, two)
    cosines = torch.cosine_similarity(kept.flatten(1).double(), two.flatten(1).double(), dim=1, eps=1e-300)
    assert cosines.abs().max() < 1e-6
    torch.testing.assert_close(without(kept, two), kept, rtol=1e-5, atol=0)
    assert torch.equal(without(one, torch.zeros_like(one)), one)
    assert torch.isfinite(without(one, one)).all()


class Steered(nn.Module):
    """Logits from the first entry, the detector's appeal from the second: both gradients are known."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        zero = torch.zeros_like(x[:, 0])
        lead = x[:, 1] - 0.55
        return {"logits": torch.stack([zero, x[:, 0] - 0.55], 1), "lead": lead, "appeal": torch.stack([lead, lead], 1)}


@pytest.mark.parametrize("attack", [AdaptivePGD(), OrthogonalPGD(), OrthogonalPGD(orthogonal=False, confidence=0.02)])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_both_are_deceived_where_both_can_be(attack: AdaptivePGD | OrthogonalPGD, norm: str) -> None:
    x = torch.full((3, 4), 0.5, dtype=torch.float64)
    y = torch.zeros(3, dtype=torch.int64)
    found = attack.at(0.15, norm)(Victim(Steered()), x, y)
    assert found.success.all()
    assert (found.x[:, :2] > 0.55).all()
    assert torch.equal(found.x[:, 2:], x[:, 2:])
    near = attack.at(0.04, norm)(Victim(Steered()), x, y)
    assert not near.success.any()
    blind = PGD(Ball(norm, 0.15), Unnoticed(), steps=20, random_start=False)(Victim(Steered()), x, y)
    assert not blind.success.any()  # the classifier alone is not enough


def test_the_wanted_class_is_reached_when_targeted() -> None:
    x = torch.rand(4, 1, 6, 6)
    wanted = torch.tensor([0, 1, 2, 3])
    found = AdaptivePGD(Ball("linf", 0.9, targeted=True), steps=40)(Victim(small_net()), x, wanted)
    assert found.success.all()


@cache
def guarded() -> tuple[Victim, ArraySource, NeighbourhoodDetector]:
    """The digits' classifier, and a detector round a linear encoder with a labeller that knows something."""
    victim, x, y = digits()
    features = nn.Flatten()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        labeller = nn.Linear(64, 10)
        optimizer = torch.optim.Adam(labeller.parameters(), 0.05)
        for _ in range(100):
            optimizer.zero_grad()
            nn.functional.cross_entropy(labeller(features(x)), y).backward()
            optimizer.step()
    made = NeighbourhoodDetector(features, None, labeller, victim, view=Shaken(0.05), neighbours=4, rank=2)
    return victim, ArraySource(x.numpy(), y.numpy()), made


JUDGE = Detection(Ball("linf", 0.15), attacks=("fgsm", "pgd"), samples=60, calibration=60, known=20, steps=5)


def test_the_finding_on_digits() -> None:
    victim, source, made = guarded()
    made.fit(JUDGE.clean(source), fpr=0.05)
    other = MaxSoftmax(victim).fit(JUDGE.clean(source))
    finding = JUDGE.evaluate(made, source, name="BEYOND", beside={"max-softmax": other})
    numbers = finding.numbers
    assert numbers["AUROC, PGD"] > 0.5
    kept = "accuracy with rejection"
    under_all = numbers[f"{kept}, all attacks, linf 38.2/255"]
    assert under_all <= min(finding.tables["attacks"].column(kept)[2:])
    assert finding.figures[f"{kept}, attacks that do not know it, linf 38.2/255"].interval is not None
    assert finding.headline == f"{kept}, all attacks, linf 38.2/255"
    assert numbers["clean accuracy with rejection"] <= numbers["clean accuracy"]
    attacks = finding.tables["attacks"]
    assert attacks.column("attack") == ("FGSM", "PGD", "adaptive PGD", "orthogonal PGD", "selective PGD")
    assert attacks.column("samples") == (60, 60, 20, 20, 20)
    assert finding.tables["AUROC by detector"].columns == ("attack", "deceived", "BEYOND", "max-softmax")
    assert finding.tables["ROC by detector, PGD"].columns == ("false-positive rate", "BEYOND", "max-softmax")
    assert finding.tables["ROC by attack"].x == "false-positive rate"
    assert finding.pictures["clean"].shape[0] == len(finding.tables["pictures"].rows) == 8
    assert {check.name: check.passed for check in finding.checks}["the detector's gradient reaches the input"]
    again = JUDGE.evaluate(made, source)
    assert again.numbers == numbers


def test_calibration_and_judged_samples_are_apart() -> None:
    source = guarded()[1]
    calibration, rows = JUDGE._rows(source)
    assert not set(calibration.tolist()) & set(rows.tolist())
    assert len(JUDGE.clean(source)) == 60


def test_without_attacks_that_know_it_nothing_is_believed() -> None:
    victim, source, _ = guarded()
    made = MaxSoftmax(victim).fit(JUDGE.clean(source))
    quick = Detection(Ball("linf", 0.15), attacks=("fgsm",), adaptive=False, samples=30, calibration=30)
    finding = quick.evaluate(made, source)
    assert finding.checks[-1].passed is None
    assert not any("know the defense" in name for name in finding.numbers)


class Blind(Defense):
    """Accepts by a rule without a gradient."""

    def __init__(self, victim: Victim) -> None:
        self.victim = victim

    def __call__(self, x: Tensor) -> Outcome:
        logits = self.victim.output(x).detach()
        return Outcome(logits, logits.amax(1), x, logits.amax(1) > 3)

    def exposed(self, gradient: Gradient | None = None) -> Victim:
        def surface(x: Tensor) -> dict[str, Tensor]:
            logits = self.victim.output(x)
            return {"logits": logits, "lead": logits.amax(1).detach() - 3, "appeal": logits.detach()}

        return Victim(surface)


def test_a_detector_without_gradient_is_told() -> None:
    victim, source, _ = guarded()
    finding = JUDGE.evaluate(Blind(victim), source)
    assert [check.passed for check in finding.checks if "gradient" in check.name] == [False]
    assert finding.tables["attacks"].column("attack") == ("FGSM", "PGD")
    assert not finding.believable


def test_a_weak_attack_that_knows_is_told() -> None:
    right = judged([True] * 20, [True] * 20, [1] * 20)
    wrong = judged([False] * 20, [True] * 20, [1] * 20)
    most = judged([False] * 19 + [True], [True] * 20, [1] * 20)

    def check(blind: Judged, aware: Judged) -> bool | None:
        runs = (("PGD", False, blind), ("adaptive PGD", True, aware))
        return strength_check(
            [Attempt(name, knows, right, worse, torch.zeros(20)) for name, knows, worse in runs]
        ).passed

    assert check(wrong, right) is False
    assert check(right, wrong) is True
    assert check(wrong, wrong) is None  # nothing tells which is stronger
    assert check(most, wrong) is check(wrong, most) is None  # nor does one sample


def test_the_gradient_of_every_detector_reaches_the_input() -> None:
    victim, source, made = guarded()
    x, y = unit_range(source[range(20)].x), source[range(20)].y
    body, reference = nn.Sequential(*list(victim.model)[:-1]), unit_range(source[range(60, 120)].x)
    feature_spaces = (kind(victim, body, reference) for kind in (NearestFeatures, Mahalanobis))
    for one in (made, MaxSoftmax(victim), *feature_spaces):
        check = slope_check(one.fit(x).exposed(), x, y)
        assert check.passed, (one, check)


def test_what_is_refused() -> None:
    x, y = random_pictures(12)
    for settings, message in (
        ({"ball": Ball("linf", 0.0)}, "eps above 0"),
        ({"attacks": ()}, "at least one attack"),
        ({"attacks": ("pdg",)}, "did you mean .*'pgd'"),
        ({"fpr": 0.0}, "fpr"),
        ({"samples": 0}, "samples"),
    ):
        with pytest.raises(ConfigError, match=message):
            Detection(**settings)
    judge = Detection(samples=6, adaptive=False, attacks=("fgsm",))
    unlabelled = ArraySource(x.numpy())
    fitted = MaxSoftmax(small_net()).fit(x)
    with pytest.raises(DataError, match="no labels"):
        judge.evaluate(fitted, unlabelled)
    with pytest.raises(DataError, match="fit its threshold"):
        judge.evaluate(MaxSoftmax(small_net()), ArraySource(x.numpy(), y.numpy()))
    with pytest.raises(ConfigError, match="no threshold yet"):
        detector().exposed()
    with pytest.raises(ConfigError, match="no threshold yet"):
        detector().predict(pictures())
