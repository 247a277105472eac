"""SRResNet: enlarge pictures by a deep residual network that lowers the squared error.

paper: Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network (Ledig et al., CVPR 2017)
claims: residual blocks, a skip over all of them and enlargement at the end reach a PSNR above all before
learns from: photos, images, pictures at full resolution, without labels; small ones are made of them
use it when: enlarged pictures shall be near the true ones pixel by pixel, as for measuring
not for: natural texture, which squared error blurs: srgan goes on from here; another kernel of reduction than bicubic
differences: squares lie on a grid of half their side in place of random places; the paper takes 1e6 steps
command: withstand train srresnet --data yang91 --test set5
"""

from withstand.engine.experiment import Experiment
from withstand.recipes.setups.vision.super_resolution import SuperSetup, by_squared_error

SETUP = SuperSetup()


def experiment(setup: SuperSetup = SETUP) -> Experiment:
    """Return the experiment.

    Args:
        setup: data, network, budget.
    """
    return by_squared_error(setup)
