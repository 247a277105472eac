"""GroCo: a picture's other views must rank above its nearest other pictures, by a differentiable sorting network.

paper: Learning by Sorting: Self-supervised Learning with Group Ordering Constraints (Shvetsova, Petersen, Kukleva,
  Schiele, Kuehne; ICCV 2023)
claims: ordering groups of positives and hardest negatives shapes neighbourhoods better than comparing pairs: better
  nearest neighbours than SimCLR
learns from: unlabelled pictures, photos, images; two or more views of each
mechanism: contrastive
target: instance
granularity: picture
guard: negatives
needs: several views
use it when: the encoder is used for nearest neighbours
command: withstand train groco --data fashion-mnist-small
time: 206 s of a processor for the claim, 3 seeds
reached: undecided: kNN accuracy 0.320 ± 0.008 against SimCLR's 0.319 ± 0.012 on the same views (5,000 CIFAR-10
  pictures, ResNet of width 8, 5 epochs)
"""

from functools import partial

from withstand.engine.experiment import Experiment
from withstand.engine.optimizers import AdamW
from withstand.methods.contrastive.groco import GroCo
from withstand.recipes.setups.vision.pictures import TwoViewSetup, experiment_on_pictures
from withstand.views.presets import barlow_large, barlow_small

SETUP = TwoViewSetup(learning_rate=4e-3)


def experiment(
    setup: TwoViewSetup = SETUP, *, dim: int = 64, negatives: int = 10, steepness: float = 1.0
) -> Experiment:
    """Return the experiment.

    Args:
        setup: data, network, budget.
        learning_rate: of AdamW, for a batch of 256; scaled with the batch.
        dim: width of the projection.
        negatives: nearest other pictures that are sorted along.
        steepness: of the sorting network.
    """
    method = partial(GroCo, dim=dim, negatives=negatives, steepness=steepness)
    # The loss is a mean over all ranks and its gradients are small: short runs by SGD hardly move.
    optimizer = AdamW(setup.learning_rate * setup.batch / 256, weight_decay=1e-6)
    return experiment_on_pictures("groco", method, (barlow_small, barlow_large), setup, optimizer=optimizer)
