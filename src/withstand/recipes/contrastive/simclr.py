"""SimCLR: tell each picture's two views from all other pictures.

paper: A Simple Framework for Contrastive Learning of Visual Representations (Chen, Kornblith, Norouzi, Hinton;
  ICML 2020)
claims: composing random cropping with color distortion is what makes contrastive learning work; cropping alone
  leaves color histograms as a short cut
learns from: unlabelled pictures, photos, images; two views of each
mechanism: contrastive
target: instance
granularity: picture
guard: negatives
needs: two views
use it when: a well understood baseline is wanted, with large batches
not for: batches under about 256, where dcl keeps its gradient; pictures that a crop or a change of color turns into
  another thing
command: withstand train simclr --data fashion-mnist-small
time: 390 processor seconds for the claim, 3 seeds
reached: undecided by 3 seeds: kNN accuracy 0.331 ± 0.018 with crops and color, 0.309 ± 0.005 with crops alone (5,000
  CIFAR-10 pictures, ResNet of width 8, 10 epochs)
"""

from functools import partial

from withstand.engine.experiment import Experiment
from withstand.methods.contrastive.simclr import SimCLR
from withstand.recipes.setups.vision.pictures import TwoViewSetup, experiment_on_pictures
from withstand.views.presets import simclr_large, simclr_small

SETUP = TwoViewSetup()


def experiment(
    setup: TwoViewSetup = SETUP,
    *,
    temperature: float = 0.2,
    smallest_crop: float = 0.08,
) -> Experiment:
    """Return the experiment.

    Args:
        setup: data, network, budget.
        temperature: the loss's tau.
        smallest_crop: least share of the area that a crop of a small picture keeps.
    """
    views = (partial(simclr_small, smallest_crop=smallest_crop), simclr_large)
    method = partial(SimCLR, temperature=temperature)
    return experiment_on_pictures("simclr", method, views, setup)
