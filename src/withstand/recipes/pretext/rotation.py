"""Rotation: tell by which quarter turns a picture was turned.

paper: Unsupervised Representation Learning by Predicting Image Rotations (Gidaris, Singh, Komodakis; ICLR 2018)
claims: what must be known to tell how a picture was turned is what it shows
learns from: unlabelled pictures, photos, images; one view of each, cropped and flipped
mechanism: pretext
target: transformation
granularity: picture
guard: known answers
needs: one view
use it when: pictures have an upright pose, and a batch is too small for contrast
not for: pictures that look alike however they lie, as those from above or through a microscope
command: withstand train rotation --data fashion-mnist-small
"""

from functools import partial

from withstand.engine.experiment import Experiment
from withstand.methods.pretext.rotation import Rotation
from withstand.recipes.setups.vision.pictures import CropSetup, experiment_on_pictures
from withstand.views.presets import crop_and_flip

SETUP = CropSetup()


def experiment(
    setup: CropSetup = SETUP,
) -> Experiment:
    """Return the experiment.

    Args:
        setup: data, network, budget.
    """
    view = partial(crop_and_flip, smallest_crop=0.6)
    return experiment_on_pictures("rotation", Rotation, (view, view), setup)
