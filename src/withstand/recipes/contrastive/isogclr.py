"""iSogCLR: contrastive learning in which every picture finds a temperature of its own, by how common it is.

paper: Not All Semantics are Created Equal: Contrastive Self-supervised Learning with Automatic Temperature
  Individualization (Qiu, Hu, Yuan, Zhou, Zhang, Yang; ICML 2023)
claims: pictures of frequent kinds get higher temperatures than rare ones, which helps most where kinds are of unequal
  frequency
learns from: unlabelled pictures, photos, images; two views of each
mechanism: contrastive
target: instance
granularity: picture
guard: negatives
needs: two views
use it when: some kinds of pictures are much rarer than others; a temperature cannot be tuned; batches are small
command: withstand train isogclr --data fashion-mnist-small
time: 157 s of a processor for the claim, 3 seeds
reached: undecided: linear accuracy 0.262 ± 0.006 against SimCLR's 0.263 ± 0.008 (1,698 CIFAR-10 pictures, classes of
  500 to 25, balanced test, ResNet of width 8, 12 epochs); temperatures come out as claimed, a little higher in the
  three largest classes than in the three smallest in each seed, 0.251 against 0.245
"""

from dataclasses import replace
from functools import partial

from withstand.engine.experiment import Experiment
from withstand.methods.contrastive.isogclr import ISogCLR
from withstand.methods.contrastive.simclr import SimCLR
from withstand.recipes.setups.vision.pictures import CropSetup, experiment_on_pictures
from withstand.views.presets import simclr_large, simclr_small

SETUP = CropSetup(batch=128)


def experiment(
    setup: CropSetup = SETUP,
    *,
    temperature: float = 0.1,
    rho: float = 0.3,
    rate: float = 0.01,
) -> Experiment:
    """Return the experiment.

    Args:
        setup: data, network, budget.
        temperature: that every picture begins with.
        rho: how far from even a picture's weights on its negatives settle; large is cold.
        rate: of the temperatures' descent; 0 keeps them, which is SogCLR.
    """
    views = (partial(simclr_small, strength=0.5), partial(simclr_large, strength=0.5, smallest_crop=0.2))
    made = experiment_on_pictures("isogclr", SimCLR, views, setup)
    # Temperatures are the data's: how many there are is known now.
    method = ISogCLR(made.method.encoder, samples=len(made.source), temperature=temperature, rho=rho, rate=rate)
    return replace(made, method=method)
