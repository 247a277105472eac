"""Jigsaw: tell in which of some orders a picture's tiles were laid.

paper: Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles (Noroozi, Favaro; ECCV 2016)
claims: to lay a puzzle of a picture, its parts and how they belong together must be known
learns from: unlabelled pictures, photos, images; one view of each, cropped and flipped
mechanism: pretext
target: position
granularity: picture
guard: known answers
needs: one view
use it when: pictures show things with parts
not for: textures, whose tiles fit anywhere; small budgets: a step reads every tile as a picture
command: withstand train jigsaw --data fashion-mnist-small
"""

from functools import partial

from withstand.engine.experiment import Experiment
from withstand.methods.pretext.jigsaw import Jigsaw
from withstand.recipes.setups.vision.pictures import CropSetup, experiment_on_pictures
from withstand.views.presets import crop_and_flip

SETUP = CropSetup()


def experiment(
    setup: CropSetup = SETUP,
    *,
    grid: int = 2,
    orders: int = 24,
    crop: float = 0.85,
) -> Experiment:
    """Return the experiment.

    Args:
        setup: data, network, budget.
        grid: tiles a side, 2 or 3; 3 in the paper.
        orders: how many orders there are, at most 24 of four tiles; 100 in the paper.
        crop: share of a tile's sides that is kept, at a place drawn for each.
    """
    view = partial(crop_and_flip, smallest_crop=0.6)
    method = partial(Jigsaw, grid=grid, orders=orders, each=128, joint=512, crop=crop)
    return experiment_on_pictures("jigsaw", method, (view, view), setup)
