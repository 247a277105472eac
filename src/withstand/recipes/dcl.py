"""DCL: contrastive learning whose positives do not weaken the push from negatives.

paper: Decoupled Contrastive Learning (Yeh, Hong, Hsu, Liu, Chen, LeCun; ECCV 2022)
claims: taking the positive pair out of InfoNCE's denominator keeps the gradient from fading with small batches
  and easy positives, so that a batch of 256 learns better representations than SimCLR's loss does
learns from: unlabelled pictures, photos, images; two views of each
use it when: batches are small, memory is short, a good encoder is wanted in few epochs
command: withstand train dcl --data fashion-mnist-small
"""

from functools import partial

from withstand.data.load import Data
from withstand.engine.experiment import Experiment
from withstand.methods.contrastive.dcl import DCL
from withstand.recipes.pictures import experiment_on_pictures
from withstand.views.presets import simclr_large, simclr_small


def experiment(
    *,
    data: Data = "fashion-mnist-small",
    size: int | None = None,
    model: str = "resnet",
    width: int = 16,
    depth: int = 10,
    epochs: int = 20,
    batch: int = 256,
    learning_rate: float = 0.12,
    temperature: float = 0.1,
    weighted: bool = False,
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
        temperature: the loss's tau.
        weighted: DCLW: weight hard positives up.
        seed: of weights, order and views.
        processes: how many train together.
    """
    method = partial(DCL, temperature=temperature, weighted=weighted)
    return experiment_on_pictures(
        "dcl", method, (simclr_small, simclr_large), data=data, size=size, model=model, width=width, depth=depth,
        epochs=epochs, batch=batch, learning_rate=learning_rate, seed=seed, processes=processes,
    )  # fmt: skip
