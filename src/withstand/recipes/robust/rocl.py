"""RoCL: contrastive learning that must recognise pictures which an attack has made look like others.

paper: Adversarial Self-Supervised Contrastive Learning (Kim, Tack, Hwang; NeurIPS 2020)
claims: an attack on instances, with no labels at all, makes a third view whose contrast gives features that withstand
  attacks which break plainly learnt ones
learns from: unlabelled pictures, photos, images; two views of each
mechanism: contrastive
target: instance
granularity: picture
guard: negatives
needs: two views
use it when: there are no labels, and what is built on the encoder must withstand small changes of its inputs; robust
  pretraining
command: withstand train rocl --data fashion-mnist-small
time: 5 minutes on a GPU for the claim, 3 seeds
reached: reproduced: under PGD-20 at 4/255 a linear classifier on clean features keeps 0.678 ± 0.020, 0.259 ± 0.067 on
  SimCLR's (10,000 Fashion-MNIST pictures, ResNet of width 8, 8 epochs); clean, the two are on a level
"""

from functools import partial

from withstand.attacks.inputs.gradient import PGD
from withstand.core.threat import Ball, parse_eps
from withstand.engine.experiment import Experiment
from withstand.methods.robust.rocl import RoCL
from withstand.recipes.setups.vision.pictures import experiment_on_pictures
from withstand.recipes.setups.vision.robust_pictures import RobustSetup
from withstand.views.presets import simclr_large, simclr_small

SETUP = RobustSetup(batch=256, learning_rate=0.12, steps=7)


def experiment(setup: RobustSetup = SETUP, *, temperature: float = 0.5, attacked_weight: float = 1 / 256) -> Experiment:
    """Return the experiment.

    Args:
        setup: data, network, budget, inner attack.
        learning_rate: of SGD, for a batch of 256; scaled with the batch.
        temperature: the contrastive loss's tau.
        attacked_weight: weight of the attacked pair's own loss beside that of all three views.
    """
    # Together 1.56 times the radius, as the paper's seven steps of 0.007 within 0.0314.
    attack = PGD(Ball("linf", parse_eps(setup.eps)), steps=setup.steps, step_size=1.56 / setup.steps, keep_best=False)
    method = partial(RoCL, temperature=temperature, attack=attack, attacked_weight=attacked_weight)
    return experiment_on_pictures("rocl", method, (simclr_small, simclr_large), setup)
