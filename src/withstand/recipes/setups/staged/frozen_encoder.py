"""What recipes share that learn something about an encoder of an earlier run, which stays as it is."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from withstand.core.errors import ConfigError
from withstand.core.part import again
from withstand.core.roles import Evaluator, Method, Model, Source
from withstand.engine.experiment import Experiment
from withstand.engine.optimizers import Optimizer
from withstand.recipes.setups.staged.stages import encoder_of, require_taken, side_of
from withstand.recipes.setups.vision.bare_pictures import BareSetup, experiment_without_views


@dataclass(frozen=True, kw_only=True)
class FrozenSetup(BareSetup):
    """What a recipe on an earlier run's encoder can be told: the run, data, budget.

    Args:
        victim: folder of the run whose encoder is attacked, say one of simclr; an experiment is trained first.
    """

    victim: str | Experiment | None = None


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
    setup = replace(setup, size=side_of(victim, setup.data, setup.size))

    def of(source: Source) -> Method:
        require_taken(known, source, victim)
        return method(known, source)

    made = experiment_without_views(name, of, setup, optimizer, judges)
    return replace(made, first=victim)
