"""SimSiam: predict one view's projection from the other's, with a stop-gradient in place of negatives or a teacher.

paper: Exploring Simple Siamese Representation Learning (Chen, He; CVPR 2021)
claims: a stop-gradient alone keeps a Siamese network from collapse; negatives, a teacher and large batches are not
  needed
learns from: unlabelled pictures, photos, images; two views of each
mechanism: non-contrastive
target: features
granularity: picture
guard: predictor
needs: two views
use it when: memory is short and the simplest method without negatives is wanted
command: withstand train simsiam --data fashion-mnist-small
time: 222 processor seconds for the claim, 3 seeds
reached: reproduced: kNN accuracy 0.290 ± 0.007 with the stop-gradient and 0.236 ± 0.013 without (5,000 CIFAR-10
  pictures, ResNet of width 8, 5 epochs)
"""

from functools import partial

from withstand.engine.experiment import Experiment
from withstand.methods.non_contrastive.simsiam import SimSiam
from withstand.recipes.setups.vision.pictures import TwoViewSetup, experiment_on_pictures
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
