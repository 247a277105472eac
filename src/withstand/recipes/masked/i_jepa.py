"""I-JEPA: predict what a slow teacher makes of some blocks of a picture from the rest of it, in latent space.

paper: Self-Supervised Learning from Images with a Joint-Embedding Predictive Architecture (Assran, Duval, Misra,
  Bojanowski, Vincent, Rabbat, LeCun, Ballas; CVPR 2023)
claims: prediction of features, in place of pixels, and of large blocks from an informative context teaches semantic
  features without hand-made views
learns from: unlabelled pictures, photos, images; one view of each, cropped
mechanism: predictive
target: features
granularity: patch
guard: predictor, teacher
needs: one view, patches, teacher
use it when: a vision transformer is trained without color views, and features are read as they are
not for: residual networks, which have no patches to hide; very short runs, in which the teacher teaches little
command: withstand train i-jepa --data fashion-mnist-small
"""

from withstand.engine.experiment import Experiment
from withstand.methods.masked.i_jepa import IJEPA
from withstand.models.blocks.memory.ema import Momentum
from withstand.models.pictures.transformers.patches import with_patches
from withstand.recipes.setups.vision.masked_pictures import MASKED, experiment_on_hidden_patches
from withstand.recipes.setups.vision.pictures import CropSetup

SETUP = MASKED


def experiment(
    setup: CropSetup = SETUP,
    *,
    predictor_depth: int = 2,
    predictor_width: int = 48,
    predictor_heads: int = 4,
    blocks: int = 4,
    momentum: float = 0.99,
    weight_decay: float = 0.05,
) -> Experiment:
    """Return the experiment.

    The defaults are for small networks and short runs: the paper's predictor has 12 blocks of width 384, its teacher's
    momentum starts at 0.996, and its rate is 1e-3 for a batch of 2,048.

    Args:
        setup: data, network, budget.
        model: vit or timm:vit_NAME; networks without patches have nothing to hide.
        width: of the ViT, 96 if not said.
        depth: of the ViT, 4 if not said.
        learning_rate: of AdamW, for a batch of 256; scaled with the batch.
        predictor_depth: blocks of the predictor, which is thrown away.
        predictor_width: of its tokens.
        predictor_heads: its attention heads.
        blocks: target blocks in each picture.
        momentum: how much of itself the teacher keeps in a step, at first; 1 at the end.
        weight_decay: of AdamW, on matrices.
    """
    return experiment_on_hidden_patches(
        "i-jepa",
        lambda encoder: IJEPA(
            with_patches(encoder),
            depth=predictor_depth,
            width=predictor_width,
            heads=predictor_heads,
            count=blocks,
            momentum=Momentum(momentum, 1.0, "linear"),
        ),
        setup,
        weight_decay,
        smallest_crop=0.3,
        flip=0.0,
    )
