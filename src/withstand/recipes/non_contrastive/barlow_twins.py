"""Barlow Twins: make two views agree feature by feature, and the features tell different things.

paper: Barlow Twins: Self-Supervised Learning via Redundancy Reduction (Zbontar, Jing, Misra, LeCun, Deny; ICML 2021)
claims: pushing the cross-correlation of two views towards the identity learns without negatives, predictor or
  stop-gradient and does not collapse
learns from: unlabelled pictures, photos, images; two views of each
use it when: negatives are doubtful (few kinds of pictures, near duplicates), batches are small
not for: few epochs: it learns more slowly than contrastive methods; narrow projections
command: withstand train barlow-twins --data fashion-mnist-small
time: 416 processor seconds for the claim, 3 seeds
reached: reproduced: linear accuracy 0.358 ± 0.010 against 0.299 ± 0.021 untrained (5,000 CIFAR-10 pictures, ResNet of
  width 8, 10 epochs); effective rank of the projections 7.7, and 1.15 without the redundancy term
"""

from dataclasses import replace
from functools import partial

import torch

from withstand.core.finding import Table
from withstand.core.random import isolated
from withstand.engine.experiment import Experiment
from withstand.evaluation.features import embed
from withstand.losses.contrast.geometry import effective_rank
from withstand.methods.non_contrastive.barlow_twins import BarlowTwins
from withstand.recipes.claim import Claim
from withstand.recipes.setups.pictures import TwoViewSetup, experiment_on_pictures
from withstand.recipes.trial import accuracies, budget, refuse_other_scale, trained
from withstand.views.presets import barlow_large, barlow_small

SETUP = TwoViewSetup(learning_rate=0.06)


def experiment(
    setup: TwoViewSetup = SETUP,
    *,
    dim: int = 256,
    redundancy_weight: float = 5e-3,
    scale: float = 0.1,
) -> Experiment:
    """Return the experiment.

    Args:
        setup: data, network, budget.
        dim: width of the projection.
        redundancy_weight: lambda, the weight of redundancy reduction.
        scale: factor on the loss; the rate's meaning hangs on it.
    """
    method = partial(BarlowTwins, dim=dim, redundancy_weight=redundancy_weight, scale=scale)
    return experiment_on_pictures("barlow-twins", method, (barlow_small, barlow_large), setup)


def claim(*, scale: str = "small", seeds: int = 3) -> Claim:
    """Compare a trained encoder with the same one untrained, on CIFAR-10, and look at the redundancy term's part.

    Barlow Twins learns slowly at this budget: the claim is that it learns without negatives, not that it beats
    another method.
    """
    refuse_other_scale(scale)
    system, baseline, rows = [], [], []
    for seed in range(seeds):
        ours, without = (_small(weight, seed) for weight in (0.05, 0.0))
        baseline.append(accuracies(ours.method.encoder.eval(), ours)["linear accuracy"])
        system.append(accuracies(trained(ours), ours)["linear accuracy"])
        trained(without)
        rows.append((seed, _rank(ours), _rank(without)))
    return Claim(
        slug="barlow-twins",
        statement="pushing the cross-correlation to the identity learns without negatives and does not collapse",
        quantity="linear accuracy",
        system=tuple(system),
        baseline=tuple(baseline),
        names=("Barlow Twins", "untrained"),
        protocol={**budget(ours), "probe": "linear, C chosen on a held-out part of train"},
        tables={"effective rank of the projections": Table(("seed", "with redundancy term", "without"), tuple(rows))},
    )


def _small(redundancy_weight: float, seed: int) -> Experiment:
    """Return the claim's trial; a projection as narrow as this needs a larger lambda than the paper's."""
    with isolated(seed, "claim"):
        return experiment(
            replace(SETUP, data="cifar10", width=8, epochs=10, batch=64, learning_rate=0.12, seed=seed),
            dim=64,
            scale=1.0,
            redundancy_weight=redundancy_weight,
        )


def _rank(trial: Experiment) -> float:
    """Return the effective rank of a trial's projections of its test samples."""
    assert isinstance(trial.method, BarlowTwins)
    assert trial.test is not None
    network = torch.nn.Sequential(trial.method.encoder, trial.method.head)
    return float(effective_rank(embed(network, trial.test).x))
