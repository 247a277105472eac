"""Barlow Twins: make two views agree feature by feature, and the features tell different things.

paper: Barlow Twins: Self-Supervised Learning via Redundancy Reduction (Zbontar, Jing, Misra, LeCun, Deny; ICML 2021)
claims: pushing the cross-correlation of two views towards the identity learns without negatives, predictor or
  stop-gradient and does not collapse
learns from: unlabelled pictures, photos, images; two views of each
mechanism: non-contrastive
target: features
granularity: picture
guard: decorrelation
needs: two views, batch statistics
use it when: negatives are doubtful (few kinds of pictures, near duplicates), batches are small
not for: few epochs: it learns more slowly than contrastive methods; narrow projections
command: withstand train barlow-twins --data fashion-mnist-small
time: 416 processor seconds for the claim, 3 seeds
reached: reproduced: linear accuracy 0.358 ± 0.010 against 0.299 ± 0.021 untrained (5,000 CIFAR-10 pictures, ResNet of
  width 8, 10 epochs); effective rank of the projections 7.7, and 1.15 without the redundancy term
"""

from functools import partial

from withstand.engine.experiment import Experiment
from withstand.methods.non_contrastive.barlow_twins import BarlowTwins
from withstand.recipes.setups.vision.pictures import TwoViewSetup, experiment_on_pictures
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
