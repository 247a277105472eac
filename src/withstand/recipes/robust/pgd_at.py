"""PGD-AT: a classifier that learns from the worst inputs within a radius.

paper: Towards Deep Learning Models Resistant to Adversarial Attacks (Madry, Makelov, Schmidt, Tsipras,
  Vladu; ICLR 2018)
claims: training on inputs attacked by projected gradient descent gives accuracy under attack where plain training has
  none, at some cost in clean accuracy
learns from: labelled pictures, photos, images
use it when: a classifier must withstand small changes of its inputs; robust, adversarial training, defense
not for: accuracy on clean inputs alone; changes other than those of the chosen norm and radius
command: withstand train pgd-at --data fashion-mnist-small
time: 7 minutes on one busy core for the claim, 3 seeds
reached: reproduced: accuracy under PGD-20 at 8/255 0.717 ± 0.004, plain training 0.235 ± 0.058 (10,000 Fashion-MNIST
  pictures, ResNet of width 8, 8 epochs)
"""

from withstand.attacks.inputs.gradient import PGD
from withstand.core.errors import ConfigError, nearest
from withstand.core.roles import Method, Model, Source
from withstand.core.threat import Ball, parse_eps
from withstand.engine.experiment import Experiment
from withstand.methods.robust.adversarial_training import AdversarialTraining
from withstand.methods.robust.free import FreeAdversarialTraining
from withstand.recipes.setups.vision.labelled_pictures import class_count
from withstand.recipes.setups.vision.robust_pictures import RobustSetup, experiment_with_labels, madry

KINDS = ("pgd", "fast", "free")


SETUP = RobustSetup()


def experiment(
    setup: RobustSetup = SETUP,
    *,
    kind: str = "pgd",
    weight_perturbation: float = 0.0,
    warmup: int = 0,
) -> Experiment:
    """Return the experiment.

    Args:
        setup: data, network, budget, inner attack.
        kind: pgd; fast, one step with a guard against catastrophic overfitting; free, 8 replays of each batch.
        weight_perturbation: AWP's gamma, 0.005 to 0.01; 0 for none.
        warmup: epochs over which the radius grows.
    """
    if kind not in KINDS:
        raise ConfigError(f"kind {kind!r} is unknown: {nearest(kind, KINDS)}")
    ball = Ball("linf", parse_eps(setup.eps))
    if kind == "free" and (weight_perturbation or warmup):
        raise ConfigError("kind free has neither weight_perturbation nor warmup")

    def method(encoder: Model, source: Source) -> Method:
        classes = class_count(source)
        if kind == "free":
            return FreeAdversarialTraining(encoder, classes=classes, ball=ball)
        fast = kind == "fast"
        one_step = PGD(ball, steps=1, step_size=1.25, keep_best=False)
        return AdversarialTraining(
            encoder,
            classes=classes,
            attack=one_step if fast else madry(ball.eps, setup.steps),
            train_mode=fast,
            warmup=warmup,
            weight_perturbation=weight_perturbation,
            guard=PGD(ball, steps=5) if fast else None,
        )

    return experiment_with_labels("pgd-at", method, setup)
