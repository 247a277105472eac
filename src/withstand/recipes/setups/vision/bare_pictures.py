"""What recipes share that read pictures as they are, without views, and have a network of their own."""

from collections.abc import Callable
from dataclasses import dataclass

from withstand.core.errors import DataError
from withstand.core.options import Options
from withstand.core.roles import Evaluator, Method, Source
from withstand.data.load import SHARE, Data, splits_or_all
from withstand.engine.experiment import Experiment, Plan
from withstand.engine.optimizers import Optimizer
from withstand.engine.schedules import Constant
from withstand.views.columns import AsIs


@dataclass(frozen=True, kw_only=True)
class BareSetup(Options):
    """What a recipe on pictures without views can be told: data, budget.

    Args:
        data: a set's name, a folder of pictures, an array file.
        size: side in pixels to which a folder's photos are brought; the sets have their own.
        epochs: passes over the data.
        batch: samples a step.
        learning_rate: of Adam.
        seed: of weights and order.
        processes: how many train together.
        holdout: share of the data that is kept to judge by, where they have no test part; 0 learns from all
    """

    data: Data = "fashion-mnist-small"
    size: int | None = None
    epochs: int = 20
    batch: int = 256
    learning_rate: float = 2e-4
    seed: int = 0
    processes: int = 1
    holdout: float = SHARE


def experiment_without_views(
    name: str,
    method: Callable[[Source], Method],
    setup: BareSetup,
    optimizer: Optimizer,
    judges: tuple[Evaluator, ...] = (),
) -> Experiment:
    """Return the experiment of a method that reads pictures as they are.

    Args:
        name: the recipe's slug.
        method: makes the method for the training data.
        setup: data, budget.
        optimizer: at a constant rate.
        judges: besides the usual probes.

    Raises:
        DataError: the data are no pictures.
    """
    train, test = splits_or_all(setup.data, size=setup.size, share=setup.holdout)
    if len(train.shape) != 3:
        raise DataError(f"{name} learns on pictures (C, H, W), not samples of shape {train.shape}")
    plan = Plan(
        epochs=setup.epochs,
        batch=setup.batch,
        optimizer=optimizer,
        schedule=Constant(),
        seed=setup.seed,
        processes=setup.processes,
    )
    return Experiment(name, train, AsIs(), method(train), plan, test, judges=judges)
