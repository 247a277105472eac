"""GAIRAT: adversarial training that weighs samples by how few attack steps bring them down.

paper: Geometry-aware Instance-reweighted Adversarial Training (Zhang, Zhu, Niu, Han, Sugiyama, Kankanhalli; ICLR 2021)
claims: samples near the class boundary, which few steps bring down, should weigh more; accuracy under PGD rises at no
  cost in clean accuracy. Known since: against attacks on margins, as in AutoAttack, it withstands less than plain
  adversarial training, and small nets show no gain
learns from: labelled pictures, photos, images
use it when: reweighting is to be compared with plain adversarial training; instance weights, boundary
longer runs: another number of epochs is another run: half of them, if burn-in is not said, have equal weights
command: withstand train gairat --data fashion-mnist-small
time: 8 minutes on a GPU for the claim, 3 seeds
reached: not reproduced at this scale: accuracy under PGD-20 at 8/255 0.689 ± 0.006, 0.715 ± 0.006 by plain adversarial
  training (10,000 Fashion-MNIST pictures, ResNet of width 8, 8 epochs)
"""

from withstand.core.roles import Method, Model, Source
from withstand.core.threat import parse_eps
from withstand.engine.experiment import Experiment
from withstand.losses.robust.reweighting import Curve
from withstand.methods.robust.adversarial_training import AdversarialTraining
from withstand.methods.shared.adversarial_training.weightings import GAIRAT
from withstand.recipes.setups.vision.labelled_pictures import class_count
from withstand.recipes.setups.vision.robust_pictures import RobustSetup, experiment_with_labels, madry

SETUP = RobustSetup()


def experiment(
    setup: RobustSetup = SETUP, *, shift: float = -1.0, curve: Curve = "tanh", burn_in: int | None = None
) -> Experiment:
    """Return the experiment.

    Args:
        setup: data, network, budget, inner attack.
        shift: lambda; the larger, the more equal the weights.
        curve: how weights fall with the steps that a sample survives: tanh, sigmoid or discrete.
        burn_in: epochs of equal weights before; half of them if not said.
    """
    before = setup.epochs // 2 if burn_in is None else burn_in

    def method(encoder: Model, source: Source) -> Method:
        return AdversarialTraining(
            encoder,
            classes=class_count(source),
            weighting=GAIRAT(before, shift, curve),
            attack=madry(parse_eps(setup.eps), setup.steps),
        )

    return experiment_with_labels("gairat", method, setup)
