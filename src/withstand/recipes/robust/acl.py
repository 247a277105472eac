"""ACL: an encoder that learns without labels from attacked views, and withstands more.

paper: Robust Pre-Training by Adversarial Contrastive Learning (Jiang, Chen, Chen, Wang; NeurIPS 2020)
claims: contrast on clean and on attacked views, with batch normalisations of their own, gives features whose linear
  classifier withstands attacks that break the one on plainly learnt features
learns from: unlabelled pictures, photos, images; two views of each
mechanism: contrastive
target: instance
granularity: picture
guard: negatives
needs: two views
use it when: there are no labels, and what is built on the encoder must withstand small changes of its inputs; robust
  pretraining
not for: accuracy on clean inputs alone: attacked views cost some of it, and several times the training time
command: withstand train acl --data fashion-mnist-small
time: 20 minutes on one busy core for the claim, 3 seeds
reached: reproduced: accuracy of a linear classifier under PGD-20 at 4/255 0.691 ± 0.003 with ACL, 0.285 ± 0.045 with
  SimCLR (10,000 Fashion-MNIST pictures, ResNet of width 8, 8 epochs)
"""

from functools import partial

from withstand.core.threat import parse_eps
from withstand.engine.experiment import Experiment
from withstand.methods.contrastive.simclr import SimCLR
from withstand.recipes.setups.vision.pictures import experiment_on_pictures, hardened
from withstand.recipes.setups.vision.robust_pictures import RobustSetup
from withstand.views.presets import simclr_large, simclr_small

SETUP = RobustSetup(batch=256, learning_rate=0.12, steps=5)


def experiment(
    setup: RobustSetup = SETUP,
    *,
    temperature: float = 0.5,
) -> Experiment:
    """Return the experiment.

    Args:
        setup: data, network, budget, inner attack.
        learning_rate: of SGD, for a batch of 256; scaled with the batch.
        temperature: the contrastive loss's tau.
    """
    method = partial(hardened, partial(SimCLR, temperature=temperature), eps=parse_eps(setup.eps), steps=setup.steps)
    return experiment_on_pictures("acl", method, (simclr_small, simclr_large), setup)
