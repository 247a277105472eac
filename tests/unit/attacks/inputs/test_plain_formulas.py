"""FGSM, BIM and PGD without random start, point by point against the papers' formulas in float64."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from victims import random_pictures, small_net
from withstand.attacks.inputs.gradient import FGSM, PGD
from withstand.attacks.inputs.momentum import bim
from withstand.core.threat import Ball, Norm
from withstand.core.victims.victim import Victim


def plain(model: nn.Module, x: Tensor, y: Tensor, ball: Ball, steps: int, length: float) -> Tensor:
    """Take steps of `length`, sample by sample: along the gradient, back into the ball, into the range."""
    found = []
    for clean, label in zip(x, y, strict=True):
        point = clean
        for _ in range(steps):
            leaf = point.clone().requires_grad_(True)
            loss = F.cross_entropy(model(leaf[None]), label[None])
            (slope,) = torch.autograd.grad(-loss if ball.targeted else loss, leaf)
            if ball.norm == "linf":
                moved = point + length * slope.sign()
                delta = torch.minimum(torch.maximum(moved - clean, torch.tensor(-ball.eps)), torch.tensor(ball.eps))
            else:
                moved = point + length * slope / slope.norm()
                delta = moved - clean
                delta = delta * min(1.0, ball.eps / float(delta.norm()))
            point = torch.clip(clean + delta, 0, 1)
        found.append(point)
    return torch.stack(found)


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_points_are_the_papers(norm: Norm, *, targeted: bool) -> None:
    x, y = random_pictures(8, dtype=torch.float64)
    model = small_net(dtype=torch.float64).eval()
    ball = Ball(norm, 0.15 if norm == "linf" else 0.8, targeted)
    cases = [
        (FGSM(ball), 1, ball.eps),
        (bim(ball, steps=7), 7, ball.eps * 2 / 7),
        (PGD(ball, steps=9, step_size=0.3, random_start=False, keep_best=False), 9, 0.3 * ball.eps),
    ]
    for attack, steps, length in cases:
        wanted = plain(model, x, y, ball, steps, length)
        torch.testing.assert_close(attack(Victim(model), x, y).x, wanted, rtol=0, atol=1e-7)
