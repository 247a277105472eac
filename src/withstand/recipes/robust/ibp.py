"""IBP: a classifier trained on interval bounds, so that what it withstands can be proven.

paper: On the Effectiveness of Interval Bound Propagation for Training Verifiably Robust Models (Gowal, Dvijotham,
  Stanforth, Bunel, Qin, Uesato, Arandjelovic, Mann, Kohli; 2018)
claims: training on the worst logits that intervals allow, the radius growing slowly, gives networks whose robustness is
  proven by the cheapest of bounds, where networks trained under attack have next to none that can be proven
learns from: labelled pictures, photos, images
use it when: robustness has to be proven and not only measured; certified, verified, provable defense
not for: large radii on photographs, where clean accuracy falls far; networks without bounds (attention, layer norm)
command: withstand train ibp --data fashion-mnist-small
time: 26 processor minutes for the claim, 3 seeds
reached: reproduced: certified accuracy at 0.1 0.581 ± 0.008, 0.055 ± 0.019 after training on attacks (10,000
  Fashion-MNIST pictures, 12 epochs)
"""

from withstand.engine.experiment import Experiment
from withstand.recipes.setups.vision.certified_pictures import CertifiedSetup, certified_experiment

SETUP = CertifiedSetup()


def experiment(setup: CertifiedSetup = SETUP) -> Experiment:
    """Return the experiment.

    Args:
        setup: data, network, budget, radius.
    """
    return certified_experiment("ibp", "ibp", setup)
