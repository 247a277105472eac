"""Losses of adversarial training against the official formulas, spelt out."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from withstand.losses.robust.adversarial import (
    boosted_cross_entropy,
    decoupled_alignment,
    divergence,
    mart,
    trades,
)


def logits(seed: int, classes: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(12, classes, dtype=torch.float64, generator=generator)


Y = torch.arange(12) % 2


def test_divergence() -> None:
    clean, attacked = logits(0), logits(1)
    p, q = clean.softmax(1), attacked.softmax(1)
    torch.testing.assert_close(divergence(clean, attacked), (p * (p / q).log()).sum(1))
    torch.testing.assert_close(divergence(clean, clean + 2), torch.zeros(12, dtype=torch.float64))
    assert (divergence(clean, attacked) > 0).all()


def test_trades() -> None:
    clean, attacked = logits(0).requires_grad_(), logits(1).requires_grad_()
    expected = F.cross_entropy(clean, Y) + 6 * F.kl_div(
        attacked.log_softmax(1), clean.softmax(1), reduction="batchmean"
    )
    found = trades(clean, attacked, Y, 6).mean()
    torch.testing.assert_close(found, expected)
    for a, b in zip(
        torch.autograd.grad(found, (clean, attacked)), torch.autograd.grad(expected, (clean, attacked)), strict=True
    ):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(trades(clean, attacked, Y, 0), F.cross_entropy(clean, Y, reduction="none"))


def test_mart() -> None:
    clean, attacked = logits(0), logits(1)
    p, q = clean.softmax(1), attacked.softmax(1)
    order = q.argsort(1)[:, -2:]
    other = torch.where(order[:, -1] == Y, order[:, -2], order[:, -1])
    worst = q.gather(1, other[:, None]).squeeze(1)
    boosted = F.cross_entropy(attacked, Y, reduction="none") - torch.log(1.0001 - worst + 1e-12)
    torch.testing.assert_close(boosted_cross_entropy(attacked, Y), boosted)
    torch.testing.assert_close(mart(clean, attacked, Y, 0), boosted)
    weight = 1.0000001 - p.gather(1, Y[:, None]).squeeze(1)
    torch.testing.assert_close(mart(clean, attacked, Y, 5), boosted + 5 * divergence(clean, attacked) * weight)


def test_mart_with_two_classes() -> None:
    attacked = logits(1, 2)
    other = attacked.softmax(1).gather(1, 1 - Y[:, None]).squeeze(1)
    own = F.cross_entropy(attacked, Y, reduction="none")
    torch.testing.assert_close(boosted_cross_entropy(attacked, Y), own - torch.log(1.0001 - other + 1e-12))


@pytest.mark.parametrize("loss", [trades, mart])
def test_certain_predictions_keep_losses_and_gradients_finite(loss) -> None:  # type: ignore[no-untyped-def]
    clean = torch.tensor([[50.0, -50.0], [-50.0, 50.0]], requires_grad=True)
    attacked = -clean.detach().requires_grad_()
    value = loss(clean, attacked, torch.tensor([0, 0])).sum()
    assert value.isfinite()
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(value, (clean, attacked)))


def test_decoupled_alignment_is_two_cosines() -> None:
    clean, attacked, teacher = (logits(seed) for seed in range(3))
    expected = -F.cosine_similarity(clean, teacher) - 0.7 * F.cosine_similarity(attacked, clean)
    torch.testing.assert_close(decoupled_alignment(clean, attacked, teacher, 0.7), expected)
    torch.testing.assert_close(decoupled_alignment(clean, clean, clean), torch.full((12,), -3.0, dtype=torch.float64))
