"""DeACL: make a trained encoder withstand attacks, without labels, by distilling it into a robust student.

paper: Decoupled Adversarial Contrastive Learning for Self-supervised Adversarial Robustness (Zhang, Zhang, Zhang, Niu,
  Feng, Yoo, Kweon; ECCV 2022)
claims: robust learning without labels comes apart into plain pretraining, and a distillation that asks the student to
  agree with the teacher on clean pictures and with itself under attack, for a fraction of the cost
learns from: unlabelled pictures, photos, images, and a run that trained an encoder on them
mechanism: self-distillation
target: features
granularity: picture
guard: teacher
needs: one view, trained run
use it when: there is an encoder already, and it must withstand small changes of its inputs; the cheapest robust
  pretraining
command: withstand train deacl --data fashion-mnist-small --teacher runs/simclr-fashion-mnist-small
time: 5 minutes on a GPU for the claim, 3 seeds
reached: reproduced: under PGD-20 at 4/255 a linear classifier on clean features keeps 0.675 ± 0.015, 0.188 ± 0.024 on
  SimCLR's of as many epochs (10,000 Fashion-MNIST pictures, ResNets of width 8, 8 epochs after 8); clean, the two are
  on a level
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from withstand.attacks.inputs.gradient import PGD
from withstand.core.errors import ConfigError
from withstand.core.part import again, describe
from withstand.core.roles import Method, Model, View
from withstand.core.threat import Ball, parse_eps
from withstand.engine.experiment import Experiment
from withstand.methods.robust.deacl import DeACL
from withstand.recipes.setups.staged.stages import encoder_of, require_taken, side_of
from withstand.recipes.setups.vision.pictures import experiment_on_pictures
from withstand.recipes.setups.vision.robust_pictures import RobustSetup
from withstand.views.compose import MultiCrop
from withstand.views.pictures.crop import RandomResizedCrop
from withstand.views.pictures.padded_crop import PaddedCrop

SETUP = RobustSetup(batch=256, learning_rate=0.5, steps=5)


def experiment(
    setup: RobustSetup = SETUP,
    *,
    teacher: str | Experiment | None = None,
    gamma: float = 2.0,
    center: bool = True,
    scratch: bool = False,
) -> Experiment:
    """Return the experiment.

    Args:
        setup: data, network, budget, inner attack.
        learning_rate: of SGD, for a batch of 256; scaled with the batch.
        teacher: folder of the run whose encoder is distilled, say one of simclr; an experiment is trained first.
        gamma: what consistency under attack weighs.
        center: take features relative to the teacher's mean; the paper does not, and its encoders train a thousand
            epochs.
        scratch: start the student anew; else it starts as a copy of its teacher, and must be a network like it.

    Raises:
        ConfigError: no teacher, or one that does not fit.
    """
    if teacher is None:
        raise ConfigError(
            "deacl distils a trained encoder: give its run by --teacher FOLDER; withstand train simclr makes one"
        )
    known = encoder_of(Path(teacher)) if isinstance(teacher, str) else again(teacher.method.encoder)

    setup = replace(setup, size=side_of(teacher, setup.data, setup.size))

    def method(student: Model) -> Method:
        if not scratch:
            if describe(student) != describe(known):
                raise ConfigError(
                    "the student starts as a copy of its teacher, and they differ: give the teacher's --model, --width "
                    "and --depth, or --scratch"
                )
            student.load_state_dict(known.state_dict())
        # Together 1.25 times the radius, as the paper's five steps of a quarter of it.
        ball = Ball("linf", parse_eps(setup.eps))
        attack = PGD(ball, steps=setup.steps, step_size=1.25 / setup.steps, keep_best=False)
        return DeACL(student, known, gamma=gamma, center=center, scratch=scratch, attack=attack)

    views: tuple[Callable[[int], View], Callable[[int], View]] = (
        lambda side: MultiCrop((PaddedCrop(max(1, side // 8)),), (1,)),
        lambda side: MultiCrop((RandomResizedCrop(side, flip=0.5),), (1,)),
    )
    made = experiment_on_pictures("deacl", method, views, setup)
    require_taken(known, made.source, teacher)
    return replace(made, first=teacher)
