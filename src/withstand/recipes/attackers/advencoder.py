"""AdvEncoder: learn one perturbation, or one patch, that leads a run's encoder astray on every picture.

paper: Downstream-agnostic Adversarial Examples (Zhou, Hu, Zhao, Wang, Luo, Xue, Cao; ICCV 2023)
claims: an encoder without a head can be attacked once for all pictures and for all heads that are fitted later, by
  whoever knows neither labels nor task
learns from: a run that trained an encoder, and unlabelled pictures, photos, images
use it when: an encoder is to be given away, and it must be known what an attacker who has it can do to those who build
  on it; its product is an attack, for withstand attack and audit
not for: a classifier that is attacked picture by picture: withstand audit finds far more there
time: 470 processor seconds for the claim, 3 seeds
reached: reproduced: at 10/255, one perturbation changes 0.465 ± 0.026 of a linear head's predictions, random signs of
  the same size 0.100 ± 0.006 (CIFAR-10, a surrogate of half the classes). But the head's accuracy hardly falls, 0.32 to
  0.28, for it was low; and without high frequencies the same comes out, 0.465: the term changes nothing here
command: withstand train advencoder --data fashion-mnist-small --victim runs/simclr-fashion-mnist-small
"""

from typing import Literal

from withstand.core.roles import Method, Model, Source
from withstand.engine.experiment import Experiment
from withstand.engine.optimizers import Adam
from withstand.evaluation.robustness.encoders.fooling import Fooling
from withstand.methods.attackers.adv_encoder import AdvEncoder
from withstand.recipes.setups.staged.frozen_encoder import FrozenSetup, experiment_on_frozen_encoder

SETUP = FrozenSetup()


def experiment(
    setup: FrozenSetup = SETUP,
    *,
    kind: Literal["perturbation", "patch"] = "perturbation",
    eps: str = "10/255",
    generator: bool = True,
    alpha: float = 5.0,
    high_frequency: float = 1.0,
    radius: float | None = None,
    temperature: float = 0.1,
    clip: bool = True,
) -> Experiment:
    """Return the experiment.

    Args:
        setup: the run, data, budget.
        learning_rate: of Adam with betas (0.5, 0.999), as in the official code.
        kind: a perturbation of all pixels within eps, or a patch of 3 % of the pixels, at the lower right.
        eps: the perturbation's radius, Linf, in input units or like 10/255.
        generator: a small network makes it from fixed noise, as in the paper; else its pixels are learnt directly, with
            a rate that should then be some hundredths of eps.
        alpha: what the contrast between clean and attacked features weighs.
        high_frequency: what high frequencies of the change weigh, which are raised; 0 leaves them alone.
        radius: frequencies of a smaller radius count as low; an eighth of the side if not said.
        temperature: tau of the contrast.
        clip: keep attacked pictures in [0, 1].
    """

    def method(encoder: Model, source: Source) -> Method:
        return AdvEncoder(
            encoder,
            source.shape,
            kind=kind,
            eps=eps,
            generator=generator,
            adversarial=alpha,
            high_frequency=high_frequency,
            radius=radius,
            temperature=temperature,
            clip=clip,
        )

    optimizer = Adam(setup.learning_rate, betas=(0.5, 0.999))
    return experiment_on_frozen_encoder("advencoder", method, setup, optimizer, (Fooling(),))
