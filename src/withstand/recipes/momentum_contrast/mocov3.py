"""MoCo v3: predict from one view of a picture the other's key, made by a slow copy, among the keys of the batch.

paper: An Empirical Study of Training Self-Supervised Vision Transformers (Chen, Xie, He; ICCV 2021)
claims: with a predictor and large batches in place of MoCo v2's queue, residual networks learn better
  representations
learns from: unlabelled pictures, photos, images; two views of each
mechanism: contrastive
target: instance
granularity: picture
guard: negatives
needs: two views, teacher
use it when: vision transformers or residual networks are trained with large batches
command: withstand train mocov3 --data fashion-mnist-small
time: 257 processor seconds for the claim, 3 seeds
reached: undecided: kNN accuracy 0.317 ± 0.006, 0.312 ± 0.015 for MoCo v2 (5,000 CIFAR-10 pictures, ResNet of width 8)
"""

from functools import partial

from withstand.engine.experiment import Experiment
from withstand.methods.momentum_contrast.moco_v3 import MoCoV3
from withstand.models.blocks.memory.ema import Momentum
from withstand.recipes.setups.vision.pictures import TwoViewSetup, experiment_on_pictures
from withstand.views.presets import barlow_large, barlow_small

SETUP = TwoViewSetup()


def experiment(
    setup: TwoViewSetup = SETUP, *, dim: int = 256, temperature: float = 0.2, momentum: float = 0.99
) -> Experiment:
    """Return the experiment.

    Args:
        setup: data, network, budget.
        dim: width of the projection.
        temperature: the loss's tau.
        momentum: how much of itself the key encoder keeps in a step, at first; 1 at the end.
    """
    method = partial(MoCoV3, dim=dim, temperature=temperature, momentum=Momentum(momentum, 1.0))
    return experiment_on_pictures("mocov3", method, (barlow_small, barlow_large), setup)
