"""What recipes share that hide patches of pictures."""

from collections.abc import Callable
from dataclasses import replace

from withstand.core.roles import Method, Model
from withstand.engine.experiment import Experiment
from withstand.engine.optimizers import AdamW
from withstand.evaluation.representation.restored import Restored
from withstand.recipes.setups.pictures import PictureSetup, experiment_on_pictures
from withstand.views.presets import crop_and_flip

MASKED = PictureSetup(model="vit", batch=128, learning_rate=2e-3)
"""What masked methods learn from unless told otherwise."""


def experiment_on_hidden_patches(
    name: str, method: Callable[[Model], Method], setup: PictureSetup, weight_decay: float
) -> Experiment:
    """Return the experiment of a method that hides patches, as MAE is trained (He et al., 2022, appendix A.1).

    Views are cropped and flipped, AdamW has betas (0.9, 0.95), and the rate rises for 40 epochs, at most the tenth part
    of the run. A judge of its own shows what is restored.

    Args:
        name: the recipe's slug.
        method: makes the method round an encoder.
        setup: data, network, budget; a ViT is 96 wide and 4 deep if it does not say.
        weight_decay: of AdamW, on matrices.
    """
    setup = with_small_vit(setup)
    optimizer = AdamW(setup.learning_rate * setup.batch / 256, weight_decay, betas=(0.9, 0.95))
    views = (crop_and_flip, crop_and_flip)
    experiment = experiment_on_pictures(name, method, views, setup, optimizer=optimizer, warmup=40)
    return replace(experiment, judges=(Restored(),))


def with_small_vit(setup: PictureSetup) -> PictureSetup:
    """Return the setup, its ViT 96 wide and 4 deep if it does not say."""
    if setup.model != "vit":
        return setup
    return replace(setup, width=setup.width or 96, depth=setup.depth or 4)
