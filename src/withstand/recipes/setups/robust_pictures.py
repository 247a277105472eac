"""What recipes of adversarial training on labelled pictures share: the settings and the experiment."""

from collections.abc import Callable
from dataclasses import dataclass

from withstand.attacks.inputs.gradient import PGD
from withstand.core.errors import DataError
from withstand.core.roles import Method, Model, Source
from withstand.core.threat import Ball
from withstand.data.derived.imbalanced import Imbalance, Imbalanced
from withstand.data.derived.subset import labelled
from withstand.data.load import splits
from withstand.engine.experiment import Experiment, Plan
from withstand.engine.optimizers import SGD, Optimizer
from withstand.engine.schedules import WarmupCosine
from withstand.recipes.setups.pictures import PictureSetup, encoder
from withstand.views.compose import MultiCrop
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
    train, test = splits(setup.data, size=setup.size, seed=0)
    if len(train.shape) != 3:
        raise DataError(f"{name} learns from pictures (C, H, W), not samples of shape {train.shape}")
    if train.labels is None:
        raise DataError(f"{name} learns from labels, and the data have none: acl hardens an encoder without labels")
    train = labelled(train)
    if isinstance(setup, ImbalancedSetup) and setup.ratio != 1:
        train = Imbalanced(train, setup.imbalance, ratio=setup.ratio)
    plan = Plan(
        epochs=setup.epochs,
        batch=setup.batch,
        optimizer=optimizer or SGD(setup.learning_rate * setup.batch / 128, weight_decay=5e-4),
        schedule=WarmupCosine(1.0, share=0.1),
        seed=setup.seed,
        processes=setup.processes,
    )
    view = MultiCrop((crop or PaddedCrop(max(1, train.shape[-1] // 8)),), (1,))
    network = encoder(setup.model, setup.width, setup.depth, train.shape)
    return Experiment(name, train, view, method(network, train), plan, test)


def class_count(source: Source) -> int:
    """Return how many labels a labelled source has."""
    assert source.labels is not None
    return max(len(source.classes), int(source.labels.max()) + 1, 2)


def madry(eps: float, steps: int) -> PGD:
    """Return the usual inner attack: steps of 2.5 eps / steps from a uniform start, the last point."""
    return PGD(Ball("linf", eps), steps=steps, keep_best=False)
