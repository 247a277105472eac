"""MoCo v2: tell each picture's key, made by a slow copy of the network, from a long queue of earlier pictures' keys.

paper: Improved Baselines with Momentum Contrastive Learning (Chen, Fan, Girshick, He; 2020)
claims: a queue gives small batches as many negatives as are wanted: better representations than SimCLR's at an
  ordinary batch
learns from: unlabelled pictures, photos, images; two views of each
mechanism: contrastive
target: instance
granularity: picture
guard: negatives
needs: two views, teacher, queue
use it when: batches are small and memory is short
command: withstand train mocov2 --data fashion-mnist-small
time: 240 processor seconds for the claim, 3 seeds
reached: undecided by 3 seeds: kNN accuracy 0.330 ± 0.009, 0.322 ± 0.015 for SimCLR, 0.008 ± 0.006 apart by seed
  (5,000 CIFAR-10 pictures, ResNet of width 8)
"""

from functools import partial

from withstand.engine.experiment import Experiment
from withstand.methods.momentum_contrast.moco_v2 import MoCoV2
from withstand.models.blocks.memory.ema import Momentum
from withstand.recipes.setups.vision.pictures import TwoViewSetup, experiment_on_pictures
from withstand.views.presets import simclr_large, simclr_small

SETUP = TwoViewSetup()


def experiment(
    setup: TwoViewSetup = SETUP,
    *,
    temperature: float = 0.2,
    queue_size: int = 4096,
    momentum: float = 0.99,
    symmetric: bool = False,
) -> Experiment:
    """Return the experiment.

    Args:
        setup: data, network, budget.
        temperature: the loss's tau.
        queue_size: keys that are remembered.
        momentum: how much of itself the key encoder keeps in a step; the paper's 0.999 is for long runs.
        symmetric: learn both views from each other.
    """
    method = partial(
        MoCoV2,
        temperature=temperature,
        queue_size=queue_size,
        momentum=Momentum(momentum, None),
        symmetric=symmetric,
    )
    views = (partial(simclr_small, strength=0.5), partial(simclr_large, strength=0.5, smallest_crop=0.2))
    return experiment_on_pictures("mocov2", method, views, setup)
