"""VICReg: views agree, every feature varies over the pictures, and features do not repeat each other.

paper: VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised Learning (Bardes, Ponce, LeCun;
  ICLR 2022)
claims: a hinge on each dimension's variance keeps embeddings from collapse, with no negatives, stop-gradient,
  teacher or normalisation
learns from: unlabelled pictures, photos, images; two views of each
mechanism: non-contrastive
target: features
granularity: picture
guard: decorrelation
needs: two views, batch statistics
use it when: negatives are doubtful, and both branches need not be alike (two modalities)
command: withstand train vicreg --data fashion-mnist-small
time: 215 processor seconds for the claim, 3 seeds
reached: reproduced: kNN accuracy 0.308 ± 0.006 with the variance term, 0.248 ± 0.008 without (5,000 CIFAR-10 pictures,
  ResNet of width 8)
"""

from functools import partial

from withstand.engine.experiment import Experiment
from withstand.methods.non_contrastive.vicreg import VICReg
from withstand.recipes.setups.vision.pictures import TwoViewSetup, experiment_on_pictures
from withstand.views.presets import barlow_large, vicreg_small

SETUP = TwoViewSetup(learning_rate=0.06)


def experiment(
    setup: TwoViewSetup = SETUP,
    *,
    dim: int = 256,
    invariance_weight: float = 25.0,
    variance_weight: float = 25.0,
    covariance_weight: float = 1.0,
) -> Experiment:
    """Return the experiment.

    Args:
        setup: data, network, budget.
        dim: width of the projection.
        invariance_weight: of the views' difference.
        variance_weight: of the hinge on standard deviations.
        covariance_weight: of the squared covariances.
    """
    method = partial(
        VICReg,
        dim=dim,
        invariance_weight=invariance_weight,
        variance_weight=variance_weight,
        covariance_weight=covariance_weight,
    )
    return experiment_on_pictures("vicreg", method, (vicreg_small, barlow_large), setup)
