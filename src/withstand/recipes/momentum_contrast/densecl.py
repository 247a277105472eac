"""DenseCL: tell pictures apart, and each place of them too, from the most similar place of another view.

paper: Dense Contrastive Learning for Self-Supervised Visual Pre-Training (Wang, Zhang, Shen, Kong, Li; CVPR 2021)
claims: a contrast of places beside that of pictures makes features that serve detection and segmentation better, at
  hardly any cost
learns from: unlabelled pictures, photos, images; two views of each
mechanism: contrastive
target: instance
granularity: picture, place
guard: negatives
needs: two views, maps, teacher, queue
use it when: maps of the network are wanted, for segmentation or detection, and not one feature of a picture alone
not for: vision transformers here, which have no stages of maps
command: withstand train densecl --data fashion-mnist-small
"""

from functools import partial

from withstand.engine.experiment import Experiment
from withstand.methods.momentum_contrast.dense_cl import DenseCL
from withstand.models.blocks.memory.ema import Momentum
from withstand.recipes.setups.vision.pictures import TwoViewSetup, experiment_on_pictures
from withstand.views.presets import simclr_large, simclr_small

SETUP = TwoViewSetup()


def experiment(
    setup: TwoViewSetup = SETUP,
    *,
    temperature: float = 0.2,
    queue_size: int = 4096,
    share: float = 0.5,
    grid: int = 7,
    momentum: float = 0.99,
) -> Experiment:
    """Return the experiment.

    Args:
        setup: data, network, budget.
        model: resnet, or timm:NAME of a network with stages of maps.
        temperature: tau of both losses.
        queue_size: keys that are remembered, of pictures and of the means of their cells.
        share: what the loss of cells weighs; the rest is that of pictures.
        grid: cells a side, at most.
        momentum: how much of itself the key encoder keeps in a step; the paper's 0.999 is for long runs.
    """
    method = partial(
        DenseCL,
        temperature=temperature,
        queue_size=queue_size,
        share=share,
        grid=grid,
        momentum=Momentum(momentum, None),
    )
    views = (partial(simclr_small, strength=0.5), partial(simclr_large, strength=0.5, smallest_crop=0.2))
    return experiment_on_pictures("densecl", method, views, setup)
