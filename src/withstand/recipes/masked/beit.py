"""BEiT: tell, of hidden patches, which token of a vocabulary each is.

paper: BEiT: BERT Pre-Training of Image Transformers (Bao, Dong, Piao, Wei; ICLR 2022)
claims: discrete tokens are a better target of masked modelling than pixels, which ask for fine detail
learns from: unlabelled pictures, photos, images; one view of each, cropped and flipped
mechanism: masked
target: tokens
granularity: patch
guard: reconstruction
needs: one view, patches, tokenizer
use it when: a vision transformer is trained without pairs of views, as a start for fine-tuning
not for: residual networks, which have no patches to hide; features that are read as they are
command: withstand train beit --data fashion-mnist-small
"""

from withstand.engine.experiment import Experiment
from withstand.methods.masked.beit import BEiT
from withstand.models.pictures.transformers.patches import with_patches
from withstand.recipes.setups.vision.masked_pictures import MASKED, experiment_on_hidden_patches
from withstand.recipes.setups.vision.pictures import CropSetup

SETUP = MASKED


def experiment(
    setup: CropSetup = SETUP, *, vocabulary: int = 256, ratio: float = 0.4, weight_decay: float = 0.05
) -> Experiment:
    """Return the experiment.

    The paper's vocabulary has 8,192 tokens, made by a network of its own; its rate is 1.5e-3 for a batch of 2,048.

    Args:
        setup: data, network, budget.
        model: vit or timm:vit_NAME; networks without patches have nothing to hide.
        width: of the ViT, 96 if not said.
        depth: of the ViT, 4 if not said.
        learning_rate: of AdamW, for a batch of 256; scaled with the batch.
        vocabulary: tokens; k-means finds them among the patches before the first epoch.
        ratio: share of the patches that is hidden.
        weight_decay: of AdamW, on matrices.
    """
    return experiment_on_hidden_patches(
        "beit", lambda encoder: BEiT(with_patches(encoder), vocabulary=vocabulary, ratio=ratio), setup, weight_decay
    )
