"""SiT: restore pictures whose blocks were replaced, and find each among others by what a teacher says of a clean view.

paper: SiT: Self-supervised vIsion Transformer (Atito, Awais, Kittler; 2021), in the second version of its official code
claims: vision transformers learn from a small set without labels; restoration beside contrast teaches more than
  contrast alone
learns from: unlabelled pictures, photos, images; two views of each
mechanism: masked, contrastive
target: pixels, instance
granularity: picture, patch
guard: reconstruction, negatives
needs: two views, patches, decoder, teacher
use it when: a vision transformer is pretrained on the small set that it is meant for
not for: residual networks, which have no patches
command: withstand train sit --data fashion-mnist-small
"""

from functools import partial

from withstand.engine.experiment import Experiment
from withstand.engine.optimizers import AdamW
from withstand.methods.masked.sit import SiT
from withstand.models.blocks.memory.ema import Momentum
from withstand.models.pictures.transformers.patches import with_patches
from withstand.recipes.setups.vision.masked_pictures import MASKED, with_small_vit
from withstand.recipes.setups.vision.pictures import CropSetup, experiment_on_pictures
from withstand.views.presets import barlow_large, barlow_small

SETUP = MASKED


def experiment(
    setup: CropSetup = SETUP,
    *,
    restore: bool = True,
    contrast: bool = True,
    weight: float = 5.0,
    drop: float = 0.5,
    replaced: float = 0.3,
    noise: bool = False,
    align: int = 1,
    hidden: int = 512,
    dim: int = 256,
    temperature: float = 0.2,
    momentum: float = 0.99,
    weight_decay: float = 0.04,
) -> Experiment:
    """Return the experiment.

    The defaults are for small networks and sets: the official head is 4,096 wide, its teacher's momentum starts at
    0.996, its rate is 5e-4 for a batch of 256, its restoration weighs 1, but 5 on small data as it advises, its
    weight decay rises from 0.04 to 0.1, and it clips each parameter's gradient at a norm of 3.

    Args:
        setup: data, network, budget.
        model: vit or timm:vit_NAME; networks without patches cannot restore any.
        width: of the ViT, 96 if not said.
        depth: of the ViT, 4 if not said.
        learning_rate: of AdamW, for a batch of 256; scaled with the batch.
        restore: learn to restore blocks.
        contrast: learn to tell pictures apart.
        weight: of the restoration.
        drop: share of a view that blocks of a fill cover.
        replaced: share that blocks of another picture cover; 0 for none.
        noise: fill blocks with noise as often as with zeros.
        align: blocks are made of squares of this side, pixels; the side of a patch for whole patches.
        hidden: width of the head's hidden layers.
        dim: width of the projection.
        temperature: of the contrast.
        momentum: how much of itself the teacher keeps in a step, at first; 1 at the end.
        weight_decay: of AdamW, on matrices.
    """
    setup = with_small_vit(setup)
    views = (partial(barlow_small, smallest_crop=0.2), partial(barlow_large, smallest_crop=0.2))
    return experiment_on_pictures(
        "sit",
        lambda encoder: SiT(
            with_patches(encoder),
            restore=restore,
            contrast=contrast,
            weight=weight,
            drop=drop,
            replace=replaced,
            fills=("zeros", "noise") if noise else ("zeros",),
            align=align,
            hidden=hidden,
            dim=dim,
            temperature=temperature,
            momentum=Momentum(momentum, 1.0),
        ),
        views,
        setup,
        optimizer=AdamW(setup.learning_rate * setup.batch / 256, weight_decay),
        warmup=10,
    )
