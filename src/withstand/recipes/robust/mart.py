"""MART: adversarial training that looks hardest at samples which are classified wrongly already.

paper: Improving Adversarial Robustness Requires Revisiting Misclassified Examples (Wang, Zou, Yi, Bailey, Ma, Gu;
  ICLR 2020)
claims: misclassified samples matter most for robustness: a boosted cross-entropy under attack, and a consistency term
  weighed by clean errors, withstand more than plain adversarial training
learns from: labelled pictures, photos, images
use it when: a classifier must withstand small changes of its inputs, and some clean accuracy may go for it
command: withstand train mart --data fashion-mnist-small
time: 8 minutes on a GPU for the claim, 3 seeds
reached: undecided: accuracy under PGD-20 at 8/255 0.723 ± 0.012, 0.715 ± 0.001 by plain adversarial training (10,000
  Fashion-MNIST pictures, ResNet of width 8, 8 epochs)
"""

from withstand.core.roles import Method, Model, Source
from withstand.core.threat import parse_eps
from withstand.engine.experiment import Experiment
from withstand.methods.robust.adversarial_training import AdversarialTraining
from withstand.methods.shared.adversarial_training.strategies import Mart
from withstand.recipes.setups.vision.labelled_pictures import class_count
from withstand.recipes.setups.vision.robust_pictures import RobustSetup, experiment_with_labels, madry

SETUP = RobustSetup()


def experiment(setup: RobustSetup = SETUP, *, beta: float = 5.0, weight_perturbation: float = 0.0) -> Experiment:
    """Return the experiment.

    Args:
        setup: data, network, budget, inner attack.
        beta: what consistency weighs against the boosted cross-entropy.
        weight_perturbation: AWP's gamma, 0.005 to 0.01; 0 for none.
    """

    def method(encoder: Model, source: Source) -> Method:
        return AdversarialTraining(
            encoder,
            classes=class_count(source),
            strategy=Mart(beta),
            attack=madry(parse_eps(setup.eps), setup.steps),
            start_noise=1e-3,
            weight_perturbation=weight_perturbation,
        )

    return experiment_with_labels("mart", method, setup)
