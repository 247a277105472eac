"""What every recipe that learns from labelled pictures shares: the experiment."""

from collections.abc import Callable
from dataclasses import dataclass

from withstand.core.errors import DataError
from withstand.core.roles import Method, Model, Source
from withstand.data.derived.subset import labelled
from withstand.engine.experiment import Experiment, Plan
from withstand.engine.optimizers import SGD, Optimizer
from withstand.engine.schedules import WarmupCosine
from withstand.recipes.setups.vision.pictures import PictureSetup, encoder
from withstand.views.compose import MultiCrop
from withstand.views.pictures.padded_crop import PaddedCrop


@dataclass(frozen=True, kw_only=True)
class LabelledSetup(PictureSetup):
    """What a recipe on labelled pictures can be told.

    Args:
        learning_rate: of SGD, for a batch of 128; scaled with the batch.
    """

    batch: int = 128
    learning_rate: float = 0.1


def labelled_experiment(
    name: str,
    method: Callable[[Model, Source], Method],
    setup: PictureSetup,
    *,
    optimizer: Optimizer | None = None,
    crop: PaddedCrop | None = None,
    choose: Callable[[Source], Source] | None = None,
    without: str = "withstand find unlabelled lists what learns without them",
) -> Experiment:
    """Return the experiment of a method that learns from labels.

    Args:
        name: the recipe's slug.
        method: makes the method round an encoder, for a source with labels.
        setup: data, network, budget.
        optimizer: in place of SGD with momentum 0.9 and weight decay 5e-4.
        crop: how pictures are shifted and mirrored; None for shifts by an eighth of the side.
        choose: makes of the labelled training pictures those that are learnt from; None for all.
        without: what a user without labels can do.

    Raises:
        DataError: no labels, or no pictures.
    """
    train, test = setup.parts()
    if len(train.shape) != 3:
        raise DataError(f"{name} learns from pictures (C, H, W), not samples of shape {train.shape}")
    if train.labels is None:
        raise DataError(f"{name} learns from labels, and the data have none: {without}")
    train = labelled(train)
    if choose is not None:
        train = choose(train)
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
    return Experiment(name, train, view, method(network, train), plan, test, judges=setup.judges())


def class_count(source: Source) -> int:
    """Return how many labels a labelled source has.

    Raises:
        DataError: samples of one class alone: whatever answers with it is always right, and learns nothing.
    """
    assert source.labels is not None
    present: list[int] = sorted(set(source.labels[source.labels >= 0].tolist()))
    if len(present) < 2:
        only = "".join(f", {source.classes[one] if one < len(source.classes) else one}" for one in present)
        raise DataError(
            f"all labelled samples of {source.name} are of one class{only}: a classifier tells two or more apart"
        )
    return max(len(source.classes), present[-1] + 1)
