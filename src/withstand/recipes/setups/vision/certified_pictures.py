"""What recipes of training for certificates share: the setup and the experiment."""

from dataclasses import dataclass
from typing import Literal

from withstand.core.roles import Method, Model, Source
from withstand.core.threat import parse_eps
from withstand.engine.experiment import Experiment
from withstand.engine.optimizers import Adam
from withstand.methods.robust.certified_training import CertifiedTraining
from withstand.recipes.setups.vision.labelled_pictures import class_count
from withstand.recipes.setups.vision.pictures import PictureSetup
from withstand.recipes.setups.vision.robust_pictures import experiment_with_labels
from withstand.views.pictures.padded_crop import PaddedCrop


@dataclass(frozen=True, kw_only=True)
class CertifiedSetup(PictureSetup):
    """What a recipe of training for certificates can be told.

    Args:
        learning_rate: of Adam.
        eps: radius (Linf) that is to be certified, in input units or like 8/255.
        kappa: the clean loss's weight in the end.
    """

    model: str = "convnet"
    width: int = 16
    depth: int = 2
    epochs: int = 30
    batch: int = 64
    learning_rate: float = 1e-3
    eps: str = "0.1"
    kappa: float = 0.5


def certified_experiment(name: str, bound: Literal["ibp", "crown-ibp"], setup: CertifiedSetup) -> Experiment:
    """Return the experiment of training on bounds.

    Args:
        name: the recipe's slug.
        bound: what the training's margins are bounded by while the radius grows.
        setup: data, network, budget, radius.
    """

    def method(encoder: Model, source: Source) -> Method:
        return CertifiedTraining(
            encoder,
            classes=class_count(source),
            eps=parse_eps(setup.eps),
            bound=bound,
            kappa=setup.kappa,
        )

    # Mirrored and far-shifted pictures cost small networks more than they teach them.
    return experiment_with_labels(
        name, method, setup, optimizer=Adam(setup.learning_rate), crop=PaddedCrop(1, flip=0.0)
    )
