"""Projection head: what it throws away, and a fixed head that weighs features in its place.

paper: Investigating the Benefits of Projection Head for Representation Learning (Xue, Gan, Ni, Joshi, Mirzasoleiman;
  ICLR 2024)
claims: from layer to layer training weighs features more unequally, and the head drops what augmentation disturbs, so
  that features before the head serve tasks better that need it; a fixed head that weighs features in a falling series
  does the same under control
learns from: unlabelled pictures, photos, images; two views of each
mechanism: contrastive
target: instance
granularity: picture
guard: negatives
needs: two views
use it when: it is to be known what a head does to features, or a head without parameters is wanted
not for: the best accuracy at any price: a trained head is the usual choice
command: withstand train projection-head --data fashion-mnist-small --kappa 1.02
time: 210 s of a processor for the claim, 3 seeds
reached: reproduced: linear accuracy on a pasted digit 0.527 ± 0.027 before the head, 0.349 ± 0.018 after it (digits on
  5,000 CIFAR-10 pictures, ResNet of width 8, 6 epochs)
"""

from functools import partial
from typing import Literal, get_args

from withstand.core.errors import ConfigError, nearest
from withstand.core.roles import Model
from withstand.engine.experiment import Experiment
from withstand.methods.contrastive.simclr import SimCLR
from withstand.models.blocks.heads import ProjectionHead
from withstand.models.blocks.reweighting import ReweightingHead
from withstand.recipes.setups.vision.pictures import TwoViewSetup, experiment_on_pictures
from withstand.views.presets import simclr_large, simclr_small

SETUP = TwoViewSetup()
Head = Literal["reweighting", "mlp", "linear", "none"]


def experiment(
    setup: TwoViewSetup = SETUP,
    *,
    head: Head = "reweighting",
    kappa: float = 1.02,
    temperature: float = 0.5,
    smallest_crop: float = 0.08,
) -> Experiment:
    """Return the experiment.

    Args:
        setup: data, network, budget.
        head: reweighting, the fixed one; mlp, SimCLR's; linear; none.
        kappa: the fixed head multiplies feature i by kappa to the power -i; 1 is no head.
        temperature: the loss's tau.
        smallest_crop: least share of the area that a crop of a small picture keeps.
    """
    if head not in get_args(Head):
        raise ConfigError(f"head {head!r} is unknown: {nearest(str(head), get_args(Head))}")

    def method(encoder: Model) -> SimCLR:
        width = encoder.width
        own: Model | None = None  # SimCLR's perceptron
        if head == "linear":
            own = ProjectionHead(width, width, width, layers=1, last_bias=False)
        elif head != "mlp":
            own = ReweightingHead(width, kappa if head == "reweighting" else 1.0)
        return SimCLR(encoder, head=own, temperature=temperature)

    views = (partial(simclr_small, smallest_crop=smallest_crop), simclr_large)
    return experiment_on_pictures("projection-head", method, views, setup)
