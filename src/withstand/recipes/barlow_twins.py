"""Barlow Twins: make two views agree feature by feature, and the features tell different things.

paper: Barlow Twins: Self-Supervised Learning via Redundancy Reduction (Zbontar, Jing, Misra, LeCun, Deny; ICML 2021)
claims: pushing the cross-correlation of two views towards the identity learns without negatives, predictor or
  stop-gradient and does not collapse
learns from: unlabelled pictures, photos, images; two views of each
use it when: negatives are doubtful (few kinds of pictures, near duplicates), batches are small
command: withstand train barlow-twins --data fashion-mnist-small
"""

from functools import partial

from withstand.data.load import Data
from withstand.engine.experiment import Experiment
from withstand.methods.redundancy.barlow_twins import BarlowTwins
from withstand.recipes.pictures import experiment_on_pictures
from withstand.views.presets import barlow_large, barlow_small


def experiment(
    *,
    data: Data = "fashion-mnist-small",
    size: int | None = None,
    model: str = "resnet",
    width: int = 16,
    depth: int = 10,
    epochs: int = 20,
    batch: int = 256,
    learning_rate: float = 0.06,
    dim: int = 256,
    redundancy_weight: float = 5e-3,
    scale: float = 0.1,
    seed: int = 0,
    processes: int = 1,
) -> Experiment:
    """Return the experiment.

    Args:
        data: a set's name, a folder of pictures, an array file.
        size: side in pixels for a folder's photos.
        model: resnet, vit, timm:NAME or timm:NAME:pretrained.
        width: channels of the ResNet's first stage.
        depth: layers of the encoder.
        epochs: passes over the data.
        batch: samples a step.
        learning_rate: of SGD, for a batch of 256.
        dim: width of the projection.
        redundancy_weight: lambda, the weight of redundancy reduction.
        scale: factor on the loss; the rate's meaning hangs on it.
        seed: of weights, order and views.
        processes: how many train together.
    """
    method = partial(BarlowTwins, dim=dim, redundancy_weight=redundancy_weight, scale=scale)
    return experiment_on_pictures(
        "barlow-twins", method, (barlow_small, barlow_large), data=data, size=size, model=model, width=width,
        depth=depth, epochs=epochs, batch=batch, learning_rate=learning_rate, seed=seed, processes=processes,
    )  # fmt: skip
