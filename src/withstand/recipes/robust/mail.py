"""MAIL: adversarial training that weighs samples by how far another class is ahead under attack.

paper: Probabilistic Margins for Instance Reweighting in Adversarial Training (Wang, Liu, Han, Liu, Gong, Niu, Zhou,
  Sugiyama; NeurIPS 2021)
claims: margins between probabilities, continuous and blind to the attack's path, tell better than attack steps which
  samples are weak; weights made of them withstand more than equal ones. On small nets gains are not reliable
learns from: labelled pictures, photos, images
use it when: reweighting is to be compared with plain adversarial training or with TRADES; instance weights, margin
longer runs: another number of epochs is another run: five eighths, if burn-in is not said, have equal weights
command: withstand train mail --data fashion-mnist-small
time: 8 minutes on a GPU for the claim, 3 seeds
reached: not reproduced at this scale: accuracy under PGD-20 at 8/255 0.681 ± 0.003, 0.708 ± 0.003 by plain adversarial
  training (10,000 Fashion-MNIST pictures, ResNet of width 8, 8 epochs)
"""

from typing import Literal, get_args

from withstand.core.errors import ConfigError, nearest
from withstand.core.roles import Method, Model, Source
from withstand.core.threat import parse_eps
from withstand.engine.experiment import Experiment
from withstand.methods.robust.adversarial_training import AdversarialTraining
from withstand.methods.shared.adversarial_training.strategies import Mart, Plain, Strategy, Trades
from withstand.methods.shared.adversarial_training.weightings import MAIL
from withstand.recipes.setups.vision.labelled_pictures import class_count
from withstand.recipes.setups.vision.robust_pictures import RobustSetup, experiment_with_labels, madry

SETUP = RobustSetup()

Base = Literal["pgd-at", "trades", "mart"]

_DEFAULTS: dict[str, tuple[Strategy, float, float]] = {
    "pgd-at": (Plain(), -0.5, 10.0),
    "trades": (Trades(), 0.0, 2.0),
    "mart": (Mart(), -1.5, 1.0),
}
"""What is weighed, with bias and slope: the paper's for the first two, the official script's default for MART."""


def experiment(
    setup: RobustSetup = SETUP,
    *,
    base: Base = "pgd-at",
    bias: float | None = None,
    slope: float | None = None,
    burn_in: int | None = None,
) -> Experiment:
    """Return the experiment.

    Args:
        setup: data, network, budget, inner attack.
        base: whose loss under attack is weighed: pgd-at, trades or mart.
        bias: added to the margin; the base's own if not said.
        slope: of the sigmoid that makes weights of margins; the base's own if not said.
        burn_in: epochs of equal weights before; five eighths of them, as in the paper, if not said.
    """
    if base not in get_args(Base):
        raise ConfigError(f"base {base!r} is unknown: {nearest(str(base), get_args(Base))}")
    strategy, usual_bias, usual_slope = _DEFAULTS[base]
    weighting = MAIL(
        setup.epochs * 5 // 8 if burn_in is None else burn_in,
        usual_bias if bias is None else bias,
        usual_slope if slope is None else slope,
    )

    def method(encoder: Model, source: Source) -> Method:
        return AdversarialTraining(
            encoder,
            classes=class_count(source),
            strategy=strategy,
            weighting=weighting,
            attack=madry(parse_eps(setup.eps), setup.steps),
            start_noise=1e-3,
        )

    return experiment_with_labels("mail", method, setup)
