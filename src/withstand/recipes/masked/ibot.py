"""iBOT: self-distillation of pictures and of their hidden patches, whose tokens a slow teacher makes as it learns.

paper: iBOT: Image BERT Pre-Training with Online Tokenizer (Zhou, Wei, Wang, Shen, Xie, Yuille, Kong; ICLR 2022)
claims: masked prediction of a teacher's assignments, beside self-distillation of whole pictures, teaches more than
  either, and needs no tokenizer made before
learns from: unlabelled pictures, photos, images; two or more views of each
mechanism: masked, self-distillation
target: tokens, cluster
granularity: picture, patch
guard: centering
needs: two views, patches, teacher
use it when: vision transformers are trained, and both pictures and their parts are to be told apart
not for: residual networks, which have no patches to hide; small budgets: a step is about six passes
command: withstand train ibot --data fashion-mnist-small
"""

from functools import partial

from withstand.engine.experiment import Experiment
from withstand.engine.optimizers import AdamW
from withstand.methods.masked.ibot import IBOT
from withstand.models.blocks.memory.ema import Momentum
from withstand.models.pictures.transformers.patches import with_patches
from withstand.recipes.setups.vision.masked_pictures import MASKED, with_small_vit
from withstand.recipes.setups.vision.pictures import CropSetup, experiment_on_pictures
from withstand.views.presets import dino_large, multicrop_small

SETUP = MASKED


def experiment(
    setup: CropSetup = SETUP,
    *,
    hidden: int = 256,
    dim: int = 64,
    prototypes: int = 256,
    local_crops: int = 0,
    ratio: float = 0.3,
    patch_weight: float = 1.0,
    patch_temperature: float = 0.04,
    center_momentum: float = 0.5,
    momentum: float = 0.95,
    weight_decay: float = 0.04,
) -> Experiment:
    """Return the experiment.

    The defaults are for small networks and runs of hundreds to thousands of steps, as those of dino: the paper has
    8,192 prototypes, a bottleneck of 256, a head of 2,048, a momentum from 0.996, a patch temperature that rises to
    0.07, ten small parts and a rate of 5e-4 for a batch of 256.

    Args:
        setup: data, network, budget.
        model: vit or timm:vit_NAME; networks without patches have nothing to hide.
        width: of the ViT, 96 if not said.
        depth: of the ViT, 4 if not said.
        learning_rate: of AdamW, for a batch of 256; scaled with the batch.
        hidden: width of the head's hidden layers.
        dim: width of the bottleneck that is compared with prototypes.
        prototypes: the head's outputs.
        local_crops: views of small parts; 0 for none.
        ratio: mean share of the patches that is hidden, in the half of the views where some are.
        patch_weight: what the patches' loss weighs.
        patch_temperature: of the teacher's softmax over a patch's prototypes, constant.
        center_momentum: how much of themselves the teacher's centers keep in a step; 1 for no centring.
        momentum: how much of itself the teacher keeps in a step, at first; 1 at the end.
        weight_decay: of AdamW, on matrices.
    """
    setup = with_small_vit(setup)
    views = (
        partial(multicrop_small, local_crops=local_crops, solarize=True),
        partial(dino_large, local_crops=local_crops),
    )
    return experiment_on_pictures(
        "ibot",
        lambda encoder: IBOT(
            with_patches(encoder),
            hidden=hidden,
            dim=dim,
            prototypes=prototypes,
            ratio=ratio,
            patch_weight=patch_weight,
            patch_temperature=patch_temperature,
            warmup_epochs=0,
            center_momentum=center_momentum,
            momentum=Momentum(momentum, 1.0),
        ),
        views,
        setup,
        optimizer=AdamW(setup.learning_rate * setup.batch / 256, weight_decay),
        warmup=10,
    )
