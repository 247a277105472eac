"""What recipes share that hide patches of pictures."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from withstand.core.roles import Method, Model
from withstand.engine.experiment import Experiment
from withstand.engine.optimizers import AdamW
from withstand.evaluation.restoration.restored import Restored
from withstand.recipes.setups.vision.pictures import CropSetup, experiment_on_pictures
from withstand.views.presets import crop_and_flip

MASKED = CropSetup(model="vit", batch=128, learning_rate=2e-3)
"""What masked methods learn from unless told otherwise."""


def experiment_on_hidden_patches(
    name: str,
    method: Callable[[Model], Method],
    setup: CropSetup,
    weight_decay: float,
    *,
    smallest_crop: float = 0.2,
    flip: float = 0.5,
) -> Experiment:
    """Return the experiment of a method that hides patches, as MAE is trained (He et al., 2022, appendix A.1).

    Views are cropped and flipped, AdamW has betas (0.9, 0.95), and the rate rises for 40 epochs, at most the tenth part
    of the run. A judge of its own shows what is restored,
    where pixels are told.

    Args:
        name: the recipe's slug.
        method: makes the method round an encoder.
        setup: data, network, budget; a ViT is 96 wide and 4 deep if it does not say.
        weight_decay: of AdamW, on matrices.
        smallest_crop: least share of the area that a crop keeps.
        flip: probability of a flip.
    """
    setup = with_small_vit(setup)
    optimizer = AdamW(setup.learning_rate * setup.batch / 256, weight_decay, betas=(0.9, 0.95))
    view = partial(crop_and_flip, smallest_crop=smallest_crop, flip=flip)
    experiment = experiment_on_pictures(name, method, (view, view), setup, optimizer=optimizer, warmup=40)
    return replace(experiment, judges=(*experiment.judges, Restored()))


def with_small_vit(setup: CropSetup) -> CropSetup:
    """Return the setup, its ViT 96 wide and 4 deep if it does not say."""
    if setup.model != "vit":
        return setup
    return replace(setup, width=setup.width or 96, depth=setup.depth or 4)
