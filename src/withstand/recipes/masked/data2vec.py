"""data2vec: tell, of hidden patches, what a slow teacher's upper blocks make of them in the whole picture.

paper: data2vec: A General Framework for Self-supervised Learning in Speech, Vision and Language (Baevski, Hsu, Xu,
  Babu, Gu, Auli; ICML 2022), its vision half
claims: contextual features of the network itself, means over its upper blocks, are a better target than pixels or
  tokens, and the same for every modality
learns from: unlabelled pictures, photos, images; one view of each, cropped and flipped
mechanism: masked, self-distillation
target: features
granularity: patch
guard: teacher
needs: one view, patches, teacher
use it when: a vision transformer is trained without pairs of views, in a run long enough for a teacher
not for: residual networks, which have no patches to hide; very short runs, in which the teacher teaches little
command: withstand train data2vec --data fashion-mnist-small
"""

from withstand.engine.experiment import Experiment
from withstand.methods.masked.data2vec import Data2Vec
from withstand.models.blocks.memory.ema import Momentum
from withstand.models.pictures.transformers.patches import with_patches
from withstand.recipes.setups.vision.masked_pictures import MASKED, experiment_on_hidden_patches, with_small_vit
from withstand.recipes.setups.vision.pictures import CropSetup

SETUP = MASKED


def experiment(
    setup: CropSetup = SETUP,
    *,
    layers: int | None = None,
    ratio: float = 0.6,
    beta: float = 2.0,
    momentum: float = 0.99,
    weight_decay: float = 0.05,
) -> Experiment:
    """Return the experiment.

    The defaults are for small networks and short runs: the paper's teacher, of 12 blocks, has momentum 0.9998, and its
    rate is 2e-3 for a batch of 2,048.

    Args:
        setup: data, network, budget.
        model: vit or timm:vit_NAME; networks without patches have nothing to hide.
        width: of the ViT, 96 if not said.
        depth: of the ViT, 4 if not said.
        learning_rate: of AdamW, for a batch of 256; scaled with the batch.
        layers: blocks of the teacher that are averaged; the upper half of a ViT, 6 of another network, if not said.
        ratio: share of the patches that is hidden.
        beta: error up to which the loss is quadratic.
        momentum: how much of itself the teacher keeps in a step.
        weight_decay: of AdamW, on matrices.
    """
    setup = with_small_vit(setup)
    upper = max(1, setup.depth // 2) if setup.model == "vit" and setup.depth else 6
    return experiment_on_hidden_patches(
        "data2vec",
        lambda encoder: Data2Vec(
            with_patches(encoder),
            layers=upper if layers is None else layers,
            ratio=ratio,
            beta=beta,
            momentum=Momentum(momentum, None),
        ),
        setup,
        weight_decay,
    )
