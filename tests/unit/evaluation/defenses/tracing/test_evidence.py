"""Evidence and its worth: closed forms of the difference of logits, planted sources, and unknown ones."""

import pytest
import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError, DataError
from withstand.core.random import isolated
from withstand.evaluation.defenses.tracing.calibration import Calibration, Cases
from withstand.evaluation.defenses.tracing.evidence import Reference, difference_of_logits, every_copy, gather
from withstand.models.pictures.tracers import TracedCopies, Tracers

COUNT, CLASSES = 4, 5


def copies(alpha: float = 0.3) -> TracedCopies:
    with isolated(5):
        tracers = Tracers((1, 6, 6), CLASSES, COUNT + 1, width=3).double()
        with torch.no_grad():
            tracers.first_weight.mul_(8)
        return TracedCopies(nn.Sequential(nn.Flatten(), nn.Linear(36, CLASSES)).double(), tracers, alpha, reserve=1)


def pictures(count: int = 200) -> Tensor:
    return torch.rand(count, 1, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def said(count: int = 60) -> tuple[Tensor, Tensor]:
    label, _, told = every_copy(copies(), pictures(count))
    return told, label


def test_where_no_attack_succeeds_there_is_no_evidence() -> None:
    nothing = gather(copies(), Reference.of(*said()), pictures(0), torch.zeros(0, dtype=torch.long))
    assert nothing.score.shape == nothing.fooled.shape == (0, COUNT)


def test_the_difference_of_logits_is_antisymmetric_and_knows_no_constant() -> None:
    told, label = said()
    wrong = (label + 1) % CLASSES
    found = difference_of_logits(told, wrong, label)
    torch.testing.assert_close(found, -difference_of_logits(told, label, wrong))
    torch.testing.assert_close(difference_of_logits(told + 3.0, wrong, label), found)


def test_scores_are_in_deviations_of_clean_pictures() -> None:
    told, label = said(200)
    wrong = (label + 1) % CLASSES
    reference = Reference.of(told, torch.zeros_like(label))  # one class alone, so that no other joins it
    score = reference.standardised(told, wrong=torch.ones_like(label), right=torch.zeros_like(label))
    torch.testing.assert_close(score.mean(0), torch.zeros(COUNT + 1, dtype=torch.float64))
    torch.testing.assert_close(score.square().mean(0), torch.ones(COUNT + 1, dtype=torch.float64))
    scale = torch.tensor([1.0, 5.0, 0.1, 2.0, 3.0], dtype=torch.float64)[:, None, None]
    plain = Reference.of(told, label).standardised(told, wrong, label)
    torch.testing.assert_close(Reference.of(told * scale, label).standardised(told * scale, wrong, label), plain)
    assert Reference.of(torch.zeros_like(told), label).standardised(told * 0, wrong, label).eq(0).all()


def test_a_class_of_few_pictures_is_joined_by_all() -> None:
    told, label = said(200)
    label = label.new_zeros(200)
    label[7] = 3
    reference = Reference.of(told, label)
    away = told[:, :, 1] - told[:, :, 3]
    torch.testing.assert_close(reference.mean[:, 3, 1], (away[:, 7] + 10 * away.mean(1)) / 11)
    with pytest.raises(DataError, match="two of them at least, not 1"):
        Reference.of(told[:, :1], label[:1])


def planted(source: int, count: int = 60, step: float = 0.3) -> tuple[TracedCopies, Reference, Tensor, Tensor, Tensor]:
    """Pictures moved a little along the slope of one tracer's difference of logits."""
    made, x = copies(), pictures()
    label, _, told = every_copy(made, x)
    reference = Reference.of(told, label)
    x, label = x[:count].clone().requires_grad_(), label[:count]
    wrong = (label + 1) % CLASSES
    for _ in range(3):
        slope = torch.autograd.grad(difference_of_logits(made.tracers(x), wrong, label)[source].sum(), x)[0]
        x = (x + step / 3 * slope / slope.flatten(1).norm(dim=1).view(-1, 1, 1, 1)).detach().requires_grad_()
    return made, reference, x.detach(), label, wrong


@pytest.mark.parametrize("source", range(COUNT))
def test_a_planted_source_has_the_highest_score(source: int) -> None:
    made, reference, x, label, wrong = planted(source, step=1.0)
    score = gather(made, reference, x, label, wrong).score
    assert score.shape == (60, COUNT), "copies that are kept back are no candidates"
    assert int(score.mean(0).argmax()) == source


def test_what_pictures_were_taken_for_is_where_any_copy_is_led_farthest() -> None:
    made, reference, x, label, _ = planted(2, step=1.0)
    found = gather(made, reference, x, label)
    logits = made(x)[:COUNT]
    for row in range(60):
        others = logits[:, row].clone()
        others[:, label[row]] = -torch.inf
        assert int(found.wrong[row]) == int(others.max(0).values.argmax())
    assert torch.equal(found.fooled, (logits.argmax(2) != label).T)


def drawn(gap: float, count: int = 40, copies: int = 4, unknown: int = 3, seed: int = 0) -> Cases:
    """Scores whose own copy is higher by a gap."""
    generator = torch.Generator().manual_seed(seed)
    source = torch.arange(copies + unknown).repeat_interleave(count)
    score = torch.randn(len(source), copies, dtype=torch.float64, generator=generator)
    own = source < copies
    score[own.nonzero()[:, 0], source[own]] += gap
    return Cases(score, source)


def test_probabilities_are_shared_out_among_all_candidates() -> None:
    calibration = Calibration(drawn(2.0))
    for worth in calibration.each(drawn(2.0, seed=1).score):
        assert float(worth.confidence.sum()) + worth.unknown == pytest.approx(1)
    more = Calibration(drawn(2.0, copies=12)).each(torch.tensor([[2.0] + [0.0] * 11]))[0]
    fewer = calibration.each(torch.tensor([[2.0, 0.0, 0.0, 0.0]]))[0]
    assert float(more.confidence[0]) < float(fewer.confidence[0]), "more candidates, less certainty"


def test_probabilities_are_what_they_say() -> None:
    """Scores of normal laws a gap apart have the log-odds gap * score - gap² / 2: the best slope is the gap."""
    gap = 1.5
    calibration = Calibration(drawn(gap, count=2000), prior=0.5)
    slope, offset = calibration._fitted(1)
    assert slope == pytest.approx(gap, rel=0.1)
    assert offset == pytest.approx(gap**2 / 2 + torch.tensor(4.0).log().item(), rel=0.1)
    fresh = drawn(gap, count=500, seed=1)
    fresh = Cases(fresh.score[: 4 * 500 + 1500], fresh.source)
    worth = calibration.each(fresh.score)
    sure = torch.tensor([float(one.confidence.max()) for one in worth])
    right = torch.tensor([int(one.confidence.argmax()) for one in worth]) == fresh.source
    # Registered sources have 4 / 7 of these cases, and half of the prior.
    weight = torch.where(fresh.source < 4, 0.5 / 2000, 0.5 / 1500)
    for low, high in ((0.2, 0.5), (0.5, 0.8), (0.8, 1.0)):
        some = (sure >= low) & (sure < high)
        share = float((weight * right)[some].sum() / weight[some].sum())
        assert share == pytest.approx(float((weight * sure)[some].sum() / weight[some].sum()), abs=0.05)


def test_without_a_trace_the_source_is_unknown() -> None:
    calibration = Calibration(drawn(0.0))
    named = [worth.named(0.9, 0.05) for worth in calibration.each(drawn(0.0, seed=1).score)]
    assert not any(one is not None for one in named)
    assert calibration.worth(torch.zeros(1, 4)).unknown > 0.3


def test_false_accusations_are_rare() -> None:
    calibration = Calibration(drawn(2.0))
    fresh = drawn(2.0, count=200, seed=1)
    outside = fresh.score[fresh.source >= 4]
    accused = sum(bool((worth.p <= 0.05).any()) for worth in calibration.each(outside))
    assert accused / len(outside) <= 0.05
    one = calibration.each(outside[:1])[0]
    assert ((one.p >= 0) & (one.p <= 1)).all()


@pytest.mark.thorough
def test_pooled_pictures_say_more() -> None:
    calibration = Calibration(drawn(1.0))
    fresh = drawn(1.0, seed=2)
    right = {}
    for pooled in (1, 5, 20):
        hits = [
            int(calibration.worth(fresh.score[fresh.source == source][start : start + pooled]).score.argmax()) == source
            for source in range(4)
            for start in range(0, 40 - pooled + 1, pooled)
        ]
        right[pooled] = sum(hits) / len(hits)
    assert right[1] < right[5] <= right[20]
    sure = Calibration(drawn(2.0)).worth(drawn(2.0, seed=2).score[40:80])
    assert sure.pooled == 20, "half of what each source gave"
    assert sure.named(0.5, 0.05) == 1
    assert float(sure.confidence.max()) < 0.96, "no surer than so many cases allow"


def test_the_order_of_candidates_is_nothing() -> None:
    cases, order = drawn(2.0), torch.tensor([2, 0, 3, 1])
    back = torch.cat([order.argsort(), torch.arange(4, 7)])
    turned = Calibration(Cases(cases.score[:, order], back[cases.source]))
    score = drawn(2.0, seed=3).score[:5]
    for one, other in zip(Calibration(cases).each(score), turned.each(score[:, order]), strict=True):
        torch.testing.assert_close(other.confidence, one.confidence[order], atol=1e-4, rtol=0)
        torch.testing.assert_close(other.p, one.p[order])


def test_what_cannot_be_calibrated_is_refused() -> None:
    with pytest.raises(ConfigError, match="prior"):
        Calibration(drawn(1.0), prior=1.0)
    with pytest.raises(DataError, match="no attack on any copy succeeded"):
        Cases(torch.empty(0, 4), torch.empty(0))
    with pytest.raises(DataError, match="no pictures to trace"):
        Calibration(drawn(1.0)).worth(torch.empty(0, 4))
