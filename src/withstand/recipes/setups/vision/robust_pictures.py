"""What recipes of adversarial training on labelled pictures share: the settings and the experiment."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from withstand.attacks.inputs.gradient import PGD
from withstand.core.roles import Method, Model, Source
from withstand.core.threat import Ball
from withstand.data.derived.imbalanced import Imbalance, Imbalanced
from withstand.engine.experiment import Experiment
from withstand.engine.optimizers import Optimizer
from withstand.recipes.setups.vision.labelled_pictures import labelled_experiment
from withstand.recipes.setups.vision.pictures import PictureSetup
from withstand.views.pictures.padded_crop import PaddedCrop


@dataclass(frozen=True, kw_only=True)
class RobustSetup(PictureSetup):
    """What a recipe of adversarial training can be told besides.

    Args:
        learning_rate: of SGD, for a batch of 128; scaled with the batch.
        eps: radius of the inner attack (Linf), in input units or like 8/255.
        steps: of the inner attack.
    """

    batch: int = 128
    learning_rate: float = 0.05
    eps: str = "8/255"
    steps: int = 10


@dataclass(frozen=True, kw_only=True)
class ImbalancedSetup(RobustSetup):
    """What a recipe for classes of unequal size can be told besides.

    Args:
        ratio: the training set's smallest class is cut to this share of the largest; 1 leaves it as it is. The test
            part stays whole.
        imbalance: which classes are cut: step, the second half; exp, more and more.
    """

    ratio: float = 1.0
    imbalance: Imbalance = "step"


def experiment_with_labels(
    name: str,
    method: Callable[[Model, Source], Method],
    setup: PictureSetup,
    *,
    optimizer: Optimizer | None = None,
    crop: PaddedCrop | None = None,
) -> Experiment:
    """Return the experiment of a method that learns from labels.

    Args:
        name: the recipe's slug.
        method: makes the method round an encoder, for a source with labels.
        setup: data, network, budget.
        optimizer: in place of SGD with momentum 0.9 and weight decay 5e-4.
        crop: how pictures are shifted and mirrored; None for shifts by an eighth of the side.

    Raises:
        DataError: no labels, or no pictures.
    """
    choose = None
    if isinstance(setup, ImbalancedSetup) and setup.ratio != 1:
        choose = partial(Imbalanced, kind=setup.imbalance, ratio=setup.ratio)
    return labelled_experiment(
        name,
        method,
        setup,
        optimizer=optimizer,
        crop=crop,
        choose=choose,
        without="acl hardens an encoder without labels",
    )


def madry(eps: float, steps: int) -> PGD:
    """Return the usual inner attack: steps of 2.5 eps / steps from a uniform start, the last point."""
    return PGD(Ball("linf", eps), steps=steps, keep_best=False)
