"""SimSiam: predict one view's projection from the other's, with a stop-gradient in place of negatives or a teacher.

paper: Exploring Simple Siamese Representation Learning (Chen, He; CVPR 2021)
claims: a stop-gradient alone keeps a Siamese network from collapse; negatives, a teacher and large batches are not
  needed
learns from: unlabelled pictures, photos, images; two views of each
use it when: memory is short and the simplest method without negatives is wanted
command: withstand train simsiam --data fashion-mnist-small
time: 222 processor seconds for the claim, 3 seeds
reached: reproduced: kNN accuracy 0.290 ± 0.007 with the stop-gradient and 0.236 ± 0.013 without (5,000 CIFAR-10
  pictures, ResNet of width 8, 5 epochs)
"""

from functools import partial

import torch

from withstand.engine.experiment import Experiment
from withstand.evaluation.features import embed
from withstand.losses.contrast.geometry import per_dimension_std
from withstand.methods.non_contrastive.simsiam import SimSiam
from withstand.recipes.claim import Claim
from withstand.recipes.setups.pictures import TwoViewSetup, experiment_on_pictures
from withstand.recipes.trial import head_to_head, refuse_other_scale, small
from withstand.views.presets import simclr_large, simclr_small

SETUP = TwoViewSetup()


def experiment(
    setup: TwoViewSetup = SETUP, *, dim: int = 512, layers: int = 2, stop_gradient: bool = True
) -> Experiment:
    """Return the experiment.

    Args:
        setup: data, network, budget.
        dim: width of the projection.
        layers: of the projector; two are the paper's for small pictures.
        stop_gradient: without it the embeddings collapse.
    """
    method = partial(SimSiam, dim=dim, layers=layers, stop_gradient=stop_gradient)
    views = (partial(simclr_small, strength=0.5), partial(simclr_large, strength=0.5, smallest_crop=0.2))
    return experiment_on_pictures("simsiam", method, views, setup)


def claim(*, scale: str = "small", seeds: int = 3) -> Claim:
    """Compare SimSiam with itself without the stop-gradient, on CIFAR-10; the projections' spread stands beside."""
    refuse_other_scale(scale)

    def trial(seed: int, *, stop_gradient: bool) -> Experiment:
        return experiment(small(SETUP, seed), dim=256, stop_gradient=stop_gradient)

    return head_to_head(
        "simsiam",
        "the stop-gradient keeps a Siamese network from collapse, and so makes it learn",
        lambda seed: trial(seed, stop_gradient=True),
        lambda seed: trial(seed, stop_gradient=False),
        names=("stop-gradient", "none"),
        seeds=seeds,
        watch=_spread,
        watched="spread of the projections, 1 where even, 0 where collapsed",
    )


def _spread(trial: Experiment) -> float:
    """Return the mean deviation of a trial's unit-length projections of its test samples, times sqrt(width)."""
    assert isinstance(trial.method, SimSiam)
    assert trial.test is not None
    z = embed(torch.nn.Sequential(trial.method.encoder, trial.method.head).eval(), trial.test).x
    return float(per_dimension_std(z).mean() * z.shape[1] ** 0.5)
