"""Colorization: tell the colors of a picture's parts from their lightness.

paper: Colorful Image Colorization (Zhang, Isola, Efros; ECCV 2016)
claims: to tell the colors of a grey picture, what it shows must be known; as a choice among bins, rare colors counting
  more, colors come out vivid and features useful
learns from: unlabelled pictures, photos, images, in color; one view of each, cropped and flipped
mechanism: pretext
target: color
granularity: patch
guard: known answers
needs: one view, patches, three channels
use it when: colors tell what pictures show, as of nature, and a vision transformer is trained
not for: grey pictures; residual networks, which have no patches; tasks that need colors, which the encoder never sees
command: withstand train colorization --data cifar10
"""

from dataclasses import replace

from withstand.engine.experiment import Experiment
from withstand.methods.pretext.colorization import Colorization
from withstand.models.pictures.transformers.patches import with_patches
from withstand.recipes.setups.vision.masked_pictures import MASKED, experiment_on_hidden_patches
from withstand.recipes.setups.vision.pictures import CropSetup

SETUP = replace(MASKED, data="cifar10")


def experiment(setup: CropSetup = SETUP, *, evened: float = 0.5, weight_decay: float = 0.05) -> Experiment:
    """Return the experiment.

    Args:
        setup: data, network, budget.
        model: vit or timm:vit_NAME; networks without patches tell no colors of any.
        width: of the ViT, 96 if not said.
        depth: of the ViT, 4 if not said.
        learning_rate: of AdamW, for a batch of 256; scaled with the batch.
        evened: how far rare colors are weighted up: 1 for not at all, 0 for the inverse of their frequency.
        weight_decay: of AdamW, on matrices.
    """
    return experiment_on_hidden_patches(
        "colorization", lambda encoder: Colorization(with_patches(encoder), evened=evened), setup, weight_decay
    )
