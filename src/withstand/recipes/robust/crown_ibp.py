"""CROWN-IBP: a classifier trained on bounds that begin tight and end cheap, so that what it withstands can be proven.

paper: Towards Stable and Efficient Training of Verifiably Robust Neural Networks (Zhang, Chen, Xiao, Gowal,
  Stanforth, Li, Boning, Hsieh; ICLR 2020)
claims: going back from the output through lines drawn over intervals while the radius grows, and by intervals alone
  in the end, trains more stably and to more certified accuracy than intervals all along
learns from: labelled pictures, photos, images
use it when: robustness has to be proven and not only measured, and training may cost some times more than IBP's
not for: large radii on photographs, where clean accuracy falls far; networks without bounds (attention, layer norm)
command: withstand train crown-ibp --data fashion-mnist-small --epochs 12
time: 12 minutes on a part of one busy core; 15 processor minutes for the claim, 3 seeds, on a GPU
reached: undecided: certified accuracy at 0.1 0.583 ± 0.005, 0.581 ± 0.006 by IBP alone (10,000
  Fashion-MNIST pictures). One run: clean accuracy 79.0 %, proven 64.5 % by withstand certify RUN --eps 0.1 --samples
  200, and 66.5 % left by AutoAttack in withstand audit RUN --eps 0.1 --samples 200; the class of shirts is lost
"""

from withstand.engine.experiment import Experiment
from withstand.recipes.setups.vision.certified_pictures import CertifiedSetup, certified_experiment

SETUP = CertifiedSetup()


def experiment(setup: CertifiedSetup = SETUP) -> Experiment:
    """Return the experiment.

    Args:
        setup: data, network, budget, radius.
    """
    return certified_experiment("crown-ibp", "crown-ibp", setup)
