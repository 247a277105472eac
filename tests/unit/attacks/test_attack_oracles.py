"""Our points against foolbox's and ART's at equal settings, without random start: equal to float rounding."""

import numpy as np
import pytest
import torch
from torch import nn

from victims import digits
from withstand.attacks.inputs.gradient import FGSM, PGD
from withstand.core.threat import Ball

pytestmark = pytest.mark.oracle


def agree(ours: torch.Tensor, theirs: torch.Tensor, *, tolerance: float = 1e-5) -> None:
    """Points are equal, but for the few entries whose gradient is 0 to rounding and whose sign is a toss-up."""
    same = (ours - theirs).abs() <= tolerance
    assert same.float().mean() >= 0.999


@pytest.mark.parametrize("eps", [0.05, 0.2])
def test_foolbox_points(eps: float) -> None:
    foolbox = pytest.importorskip("foolbox")
    victim, x, y = digits()
    wrapped = foolbox.PyTorchModel(victim.model, bounds=(0, 1))
    linf = {"steps": 10, "step_size": 0.2, "random_start": False, "keep_best": False}
    cases = [
        (foolbox.attacks.FGSM(random_start=False), FGSM(Ball("linf", eps))),
        (foolbox.attacks.FGM(random_start=False), FGSM(Ball("l2", eps))),
        (
            foolbox.attacks.LinfPGD(rel_stepsize=0.2, steps=10, random_start=False),
            PGD(Ball("linf", eps), **linf),
        ),
        (foolbox.attacks.L2PGD(rel_stepsize=0.2, steps=10, random_start=False), PGD(Ball("l2", eps), **linf)),
    ]
    for theirs, ours in cases:
        points = theirs(wrapped, x, y, epsilons=eps)[1]
        found = ours(victim, x, y)
        agree(found.x, points)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_art_points(norm: str) -> None:
    estimators = pytest.importorskip("art.estimators.classification")
    evasion = pytest.importorskip("art.attacks.evasion")
    victim, x, y = digits()
    wrapped = estimators.PyTorchClassifier(
        victim.model,
        nn.CrossEntropyLoss(),
        input_shape=(1, 8, 8),
        nb_classes=10,
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )
    order: object = np.inf if norm == "linf" else 2
    targets = nn.functional.one_hot(y, 10).numpy()
    attack = evasion.ProjectedGradientDescent(
        wrapped, norm=order, eps=0.15, eps_step=0.03, max_iter=10, num_random_init=0, verbose=False
    )
    points = torch.from_numpy(attack.generate(x.numpy(), targets))
    ours = PGD(Ball(norm, 0.15), steps=10, step_size=0.2, random_start=False, keep_best=False)
    # ART divides the batch-mean gradient by its norm plus 1e-7, so its L2 steps are shorter where gradients are small.
    agree(ours(victim, x, y).x, points, tolerance=1e-5 if norm == "linf" else 2e-3)


def test_robust_accuracy_is_never_above_foolbox() -> None:
    foolbox = pytest.importorskip("foolbox")
    victim, x, y = digits()
    wrapped = foolbox.PyTorchModel(victim.model, bounds=(0, 1))
    for eps in (0.05, 0.1, 0.15):
        theirs = foolbox.attacks.LinfPGD(steps=40)(wrapped, x, y, epsilons=eps)[2]
        ours = PGD(Ball("linf", eps), drop_finished=True)(victim, x, y).success
        assert ours.float().mean() >= theirs.float().mean() - 0.005
