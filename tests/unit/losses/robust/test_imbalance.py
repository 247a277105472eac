"""Losses and weights for rare classes, and the separation loss, against their definitions."""

import math

import pytest
import torch
import torch.nn.functional as F

from withstand.core.errors import ConfigError, DataError
from withstand.losses.contrast.contrastive import nt_xent
from withstand.losses.contrast.supervised_contrastive import supervised_contrastive
from withstand.losses.robust.imbalance import (
    balanced_softmax,
    cosine_logits,
    effective_number_weights,
    focal,
    ldam,
    ldam_margins,
)

Y = torch.tensor([0, 1, 2, 1, 0, 2, 1, 1])


def rows(width: int = 3, count: int = 8, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_effective_numbers() -> None:
    torch.testing.assert_close(effective_number_weights((9, 5, 1), 0.0), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(effective_number_weights((7, 7, 7)), torch.ones(3, dtype=torch.float64))
    found = effective_number_weights((500, 5), 0.9999)
    assert found.tolist() == pytest.approx([0.0203, 1.9797], abs=1e-4)
    near = effective_number_weights((10, 20, 40), 1 - 1e-12)
    torch.testing.assert_close(near / near[2], torch.tensor([4.0, 2.0, 1.0], dtype=torch.float64))
    assert (effective_number_weights((100, 50, 10, 1), 0.99).diff() > 0).all()
    for wrong in (lambda: effective_number_weights((3,), 1.0), lambda: effective_number_weights((0, 0))):
        with pytest.raises(ConfigError):
            wrong()


def test_labels_that_no_sample_has_change_nothing_for_the_others() -> None:
    present = torch.tensor([1, 3])
    weights, margins = effective_number_weights((0, 9, 0, 3), 0.99), ldam_margins((0, 9, 0, 3))
    torch.testing.assert_close(weights[present], effective_number_weights((9, 3), 0.99))
    torch.testing.assert_close(margins[present], ldam_margins((9, 3)))
    assert weights[[0, 2]].tolist() == [0, 0]
    logits = rows(4).requires_grad_()
    losses = balanced_softmax(logits, present[Y % 2], torch.tensor([0, 9, 0, 3]))
    (gradient,) = torch.autograd.grad(losses.sum(), logits)
    assert bool((gradient[:, [0, 2]] > 0).all())


def test_losses_fall_back_to_cross_entropy() -> None:
    logits = rows()
    expected = F.cross_entropy(logits, Y, reduction="none")
    torch.testing.assert_close(focal(logits, Y, 0), expected)
    torch.testing.assert_close(ldam(logits, Y, torch.zeros(3), 1.0), expected)
    torch.testing.assert_close(balanced_softmax(logits, Y, torch.full((3,), 9)), expected)
    counts = torch.tensor([100, 10, 1])
    chances = counts * logits.exp()  # as many times as likely where a class has as many times the samples
    balanced = -(chances.gather(1, Y[:, None])[:, 0] / chances.sum(1)).log()
    torch.testing.assert_close(balanced_softmax(logits, Y, counts), balanced)
    p = logits.softmax(1).gather(1, Y[:, None]).squeeze(1)
    torch.testing.assert_close(focal(logits, Y, 2), -((1 - p) ** 2) * p.log())


def test_ldam() -> None:
    margins = ldam_margins((1000, 100, 10))
    assert margins.argmax() == 2
    assert float(margins.max()) == 0.5
    assert float(margins[0] / margins[2]) == pytest.approx((10 / 1000) ** 0.25)
    assert ldam_margins((4, 4)).tolist() == [0.5, 0.5]
    logits = rows()
    lowered = logits.clone()
    lowered[torch.arange(8), Y] -= margins[Y]
    torch.testing.assert_close(ldam(logits, Y, margins), F.cross_entropy(30 * lowered, Y, reduction="none"))
    torch.testing.assert_close(cosine_logits(5 * logits, rows(3, 4)), cosine_logits(logits, rows(3, 4)))


def test_separation_by_its_definition() -> None:
    z, tau = rows(5), 0.3
    u = F.normalize(z, dim=1)
    total = 0.0
    for i in range(8):
        s = [math.exp(float(u[i] @ u[a]) / tau) for a in range(8)]
        others = sum(s) - s[i]
        positives = [p for p in range(8) if p != i and Y[p] == Y[i]]
        total -= sum(math.log(s[p] / others) for p in positives) / len(positives)
    assert float(supervised_contrastive(z, Y, tau)) == pytest.approx(total / 8)


def test_separation_symmetries_and_edges() -> None:
    z = rows(5)
    found = supervised_contrastive(z, Y)
    torch.testing.assert_close(supervised_contrastive(7 * z, Y), found)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(supervised_contrastive(z[order], Y[order]), found)
    z.requires_grad_(True)
    for distinct in (torch.arange(8), torch.arange(1)):
        value = supervised_contrastive(z[: len(distinct)], distinct)
        assert value == 0
        assert torch.autograd.grad(value, z)[0].eq(0).all()
    same = supervised_contrastive(torch.ones(6, 4), torch.zeros(6, dtype=torch.int64))
    assert float(same) == pytest.approx(math.log(5))
    assert torch.autograd.gradcheck(lambda x: supervised_contrastive(x, Y, 0.5), (rows(5).requires_grad_(),))
    with pytest.raises(ConfigError):
        supervised_contrastive(z, Y, 0)
    with pytest.raises(DataError):
        supervised_contrastive(z, Y[:3])


def test_two_views_as_groups_are_nt_xent() -> None:
    z = rows(5)
    torch.testing.assert_close(supervised_contrastive(z, torch.arange(4).repeat(2), 0.2), nt_xent(z[:4], z[4:], 0.2))


def test_rare_anchors_without_positives_are_left_out_and_stored_rows_help() -> None:
    z, groups = rows(5), torch.tensor([0, 0, 0, 1, 2, 2, 2, 2])
    found = supervised_contrastive(z, groups, 0.5)
    stored, classes = rows(5, 2, seed=1), torch.tensor([1, 0])
    helped = supervised_contrastive(z, groups, 0.5, stored=stored, stored_groups=classes)
    u, keys = F.normalize(z, dim=1), F.normalize(torch.cat([z, stored]), dim=1)
    s = u @ keys.T / 0.5
    s[torch.arange(8), torch.arange(8)] = -torch.inf
    log_share = s.log_softmax(1)
    every = torch.cat([groups, classes])
    values = []
    for i in range(8):
        mask = (every == groups[i]) & (torch.arange(10) != i)
        values.append(-log_share[i, mask].mean())
    torch.testing.assert_close(helped, torch.stack(values).mean())
    assert found != helped
