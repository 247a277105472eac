"""SimMIM: tell the raw pixels of hidden squares by one linear layer on an encoder that sees a token in their place.

paper: SimMIM: A Simple Framework for Masked Image Modeling (Xie, Zhang, Cao, Lin, Bao, Yao, Dai, Hu; CVPR 2022)
claims: random masking of large squares, raw pixels as the target and a linear layer as the decoder teach as well as
  more intricate designs
learns from: unlabelled pictures, photos, images; one view of each, cropped and flipped
mechanism: masked
target: pixels
granularity: patch
guard: reconstruction
needs: one view, patches
use it when: a vision transformer is trained without pairs of views and without a decoder, as a start for fine-tuning
not for: residual networks, which have no patches to hide; long runs on large pictures, where mae spends its time on
  visible patches alone
command: withstand train simmim --data fashion-mnist-small
"""

from withstand.engine.experiment import Experiment
from withstand.methods.masked.simmim import SimMIM
from withstand.models.pictures.transformers.patches import with_patches
from withstand.recipes.setups.vision.masked_pictures import MASKED, experiment_on_hidden_patches
from withstand.recipes.setups.vision.pictures import CropSetup

SETUP = MASKED


def experiment(
    setup: CropSetup = SETUP, *, ratio: float = 0.6, unit: int | None = None, weight_decay: float = 0.05
) -> Experiment:
    """Return the experiment.

    The paper's rate is 1e-4 for a batch of 512, and its crops keep at least 0.67 of a picture; here they keep 0.2, as
    in mae.

    Args:
        setup: data, network, budget.
        model: vit or timm:vit_NAME; networks without patches have nothing to hide.
        width: of the ViT, 96 if not said.
        depth: of the ViT, 4 if not said.
        learning_rate: of AdamW, for a batch of 256; scaled with the batch.
        ratio: share of the squares that is hidden.
        unit: patches a side of these squares; 2 where they tile the pictures, else 1, if not said.
        weight_decay: of AdamW, on matrices.
    """
    return experiment_on_hidden_patches(
        "simmim", lambda encoder: SimMIM(with_patches(encoder), ratio=ratio, unit=unit), setup, weight_decay
    )
