"""What recipes share that learn something about an encoder of an earlier run, which stays as it is."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from withstand.core.errors import ConfigError, DataError
from withstand.core.options import Options
from withstand.core.part import again
from withstand.core.roles import Evaluator, Method, Model, Source
from withstand.data.load import Data, splits
from withstand.engine.experiment import Experiment, Plan
from withstand.engine.optimizers import Optimizer
from withstand.engine.schedules import Constant
from withstand.recipes.setups.stages import encoder_of
from withstand.views.columns import AsIs


@dataclass(frozen=True, kw_only=True)
class FrozenSetup(Options):
    """What a recipe on an earlier run's encoder can be told: the run, data, budget.

    Args:
        victim: folder of the run whose encoder is attacked, say one of simclr; an experiment is trained first.
        data: a set's name, a folder of pictures, an array file: of the shape that the encoder learnt from.
        size: side in pixels to which a folder's photos are brought; the sets have their own.
        epochs: passes over the data.
        batch: samples a step.
        learning_rate: of Adam.
        seed: of weights and order.
        processes: how many train together.
    """

    victim: str | Experiment | None = None
    data: Data = "fashion-mnist-small"
    size: int | None = None
    epochs: int = 20
    batch: int = 256
    learning_rate: float = 2e-4
    seed: int = 0
    processes: int = 1


def experiment_on_frozen_encoder(
    name: str,
    method: Callable[[Model, Source], Method],
    setup: FrozenSetup,
    optimizer: Optimizer,
    judges: tuple[Evaluator, ...] = (),
) -> Experiment:
    """Return the experiment of a method that learns about the encoder of a run.

    Args:
        name: the recipe's slug.
        method: makes the method of the encoder and the training data.
        setup: run, data, budget.
        optimizer: at a constant rate.
        judges: besides the usual probes.

    Raises:
        ConfigError: no run is named.
        DataError: the data are no pictures.
    """
    victim = setup.victim
    if victim is None:
        raise ConfigError(
            f"{name} attacks a trained encoder: give its run by --victim FOLDER; withstand train simclr makes one"
        )
    known = encoder_of(Path(victim)) if isinstance(victim, str) else again(victim.method.encoder)
    train, test = splits(setup.data, size=setup.size, seed=0)
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
    return Experiment(name, train, AsIs(), method(known, train), plan, test, judges=judges, first=victim)
