"""AnyAttack: learn a decoder that makes a run's encoder see any chosen picture in any other one, in one pass.

paper: AnyAttack: Towards Large-scale Self-supervised Adversarial Attacks on Vision-language Models (Zhang, Ye, Ma, Li,
  Yang, Sang, Yeung; CVPR 2025)
claims: a network that is trained on pictures alone makes targeted changes for any target, and in one pass
learns from: a run that trained an encoder, and unlabelled pictures, photos, images
use it when: it must be known whether pictures can be made to pass for others, in search or by similarity; its product
  is an attack that is aimed: withstand attack RUN --attack THIS-RUN --target FILE
not for: the strongest attack on one picture, which PGD finds in some more passes
command: withstand train anyattack --data fashion-mnist-small --victim runs/simclr-fashion-mnist-small
time: 595 processor seconds for the claim, 3 seeds of two arms
reached: reproduced: 0.025 ± 0.007 of perturbed pictures find their target first, 0.007 ± 0.005 under random signs of
  the same size, and 0.383 under PGD on each picture (5,000 CIFAR-10 pictures). Learning from many carriers did no
  better than from one
"""

from dataclasses import replace
from typing import Literal

from withstand.core.roles import Method, Model, Source
from withstand.engine.experiment import Experiment
from withstand.engine.optimizers import AdamW
from withstand.evaluation.robustness.encoders.target_retrieval import TargetRetrieval
from withstand.methods.attackers.any_attack import AnyAttack
from withstand.models.pictures.noise_decoder import NoiseDecoder
from withstand.recipes.setups.staged.frozen_encoder import FrozenSetup, experiment_on_frozen_encoder

SETUP = replace(FrozenSetup(), learning_rate=1e-3, batch=128)


def experiment(
    setup: FrozenSetup = SETUP,
    *,
    eps: str = "16/255",
    carriers: int = 5,
    wanted: Literal["one-way", "both-ways", "cosine"] = "one-way",
    falling: int | None = None,
    decoder_width: int = 16,
) -> Experiment:
    """Return the experiment.

    Args:
        setup: the run, data, budget.
        learning_rate: of AdamW; the paper's is 1e-4 for half a million steps.
        eps: the change's radius, Linf, in input units or like 16/255.
        carriers: pictures that each change is tried on in a step.
        wanted: a contrast of targets with attacked pictures, one-way as in the paper's pretraining; both-ways or cosine
            as in its fine-tuning.
        falling: steps in which the contrast's temperature falls from 1 to 0.07, 10,000 in the paper; half of the run if
            not said.
        decoder_width: channels of the decoder's last maps.
    """

    def method(encoder: Model, source: Source) -> Method:
        decoder = NoiseDecoder(encoder.width, source.shape, width=decoder_width)
        return AnyAttack(
            encoder, source.shape, eps=eps, carriers=carriers, wanted=wanted, falling=falling, network=decoder
        )

    return experiment_on_frozen_encoder("anyattack", method, setup, AdamW(setup.learning_rate), (TargetRetrieval(),))
