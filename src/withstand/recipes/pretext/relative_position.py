"""Relative position: tell where one tile of a picture lies beside another.

paper: Unsupervised Visual Representation Learning by Context Prediction (Doersch, Gupta, Efros; ICCV 2015)
claims: to tell where a part lies beside another, the thing that they are parts of must be known
learns from: unlabelled pictures, photos, images; one view of each, cropped and flipped
mechanism: pretext
target: position
granularity: picture
guard: known answers
needs: one view
use it when: pictures show things with parts, and two tiles a step are all that the budget bears
not for: textures, whose tiles fit anywhere; very small pictures, of whose tiles a few pixels are left
command: withstand train relative-position --data fashion-mnist-small
"""

from functools import partial

from withstand.engine.experiment import Experiment
from withstand.methods.pretext.relative_position import RelativePosition
from withstand.recipes.setups.vision.pictures import CropSetup, experiment_on_pictures
from withstand.views.presets import crop_and_flip

SETUP = CropSetup()


def experiment(
    setup: CropSetup = SETUP,
    *,
    hidden: int = 512,
    crop: float = 0.67,
) -> Experiment:
    """Return the experiment.

    Args:
        setup: data, network, budget.
        hidden: width of the layer that reads both tiles' features; 4,096 in the paper.
        crop: share of a tile's sides that is kept, at a place drawn for each.
    """
    view = partial(crop_and_flip, smallest_crop=0.6)
    method = partial(RelativePosition, hidden=hidden, crop=crop)
    return experiment_on_pictures("relative-position", method, (view, view), setup)
