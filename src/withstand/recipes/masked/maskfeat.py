"""MaskFeat: tell, of hidden patches, where their gradients point.

paper: Masked Feature Prediction for Self-Supervised Visual Pre-Training (Wei, Fan, Xie, Wu, Yuille, Feichtenhofer;
  CVPR 2022)
claims: histograms of oriented gradients, made by hand and normalised in each cell, are as good a target as the features
  of trained networks, and better than pixels
learns from: unlabelled pictures, photos, images; one view of each, cropped and flipped
mechanism: masked
target: features
granularity: patch
guard: reconstruction
needs: one view, patches
use it when: a vision transformer is trained without pairs of views and without a decoder, and light varies
not for: residual networks, which have no patches to hide; pictures whose colors tell what they show
command: withstand train maskfeat --data fashion-mnist-small
"""

from withstand.engine.experiment import Experiment
from withstand.methods.masked.maskfeat import MaskFeat
from withstand.models.pictures.transformers.patches import with_patches
from withstand.recipes.setups.vision.masked_pictures import MASKED, experiment_on_hidden_patches
from withstand.recipes.setups.vision.pictures import CropSetup

SETUP = MASKED


def experiment(
    setup: CropSetup = SETUP, *, ratio: float = 0.4, bins: int = 9, weight_decay: float = 0.05
) -> Experiment:
    """Return the experiment.

    The paper's rate is 2e-4 for a batch of 256, and its crops keep at least half of a picture.

    Args:
        setup: data, network, budget.
        model: vit or timm:vit_NAME; networks without patches have nothing to hide.
        width: of the ViT, 96 if not said.
        depth: of the ViT, 4 if not said.
        learning_rate: of AdamW, for a batch of 256; scaled with the batch.
        ratio: share of the patches that is hidden.
        bins: directions that are told of each cell, in each channel.
        weight_decay: of AdamW, on matrices.
    """
    return experiment_on_hidden_patches(
        "maskfeat", lambda encoder: MaskFeat(with_patches(encoder), ratio=ratio, bins=bins), setup, weight_decay
    )
