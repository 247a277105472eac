"""MCL: a contrastive method in stages, each with negatives that the earlier ones cannot tell from a picture.

paper: Learning the Unlearned: Mitigating Feature Suppression in Contrastive Learning (Zhang, Lan, Chen, Wang; ECCV
  2024)
claims: contrastive learning leaves out what it can do without; trained again with negatives from a picture's own
  cluster alone, it learns that as well, and the features of all stages together hold both
learns from: unlabelled pictures, photos, images; the views of the method that it stages
mechanism: contrastive
target: instance
granularity: picture
guard: negatives
needs: two views
use it when: easy things, such as colors, stand before others that matter; encoders of several times the size are fine
not for: groups smaller than a batch: with few pictures keep clusters and stages few
longer runs: another number of epochs is another run: earlier stages have as many each
command: withstand train mcl --base simclr --stages 3
time: 186 s of a processor for the claim, 3 seeds
reached: undecided: kNN accuracy of the thing 0.477 ± 0.012 after two stages, 0.460 ± 0.009 by two encoders that were
  trained apart (2,000 tinted Fashion-MNIST pictures, ResNet of width 8, 10 epochs a stage)
"""

from withstand.data.derived.group_batches import Small
from withstand.engine.experiment import Experiment
from withstand.recipes.setups.staged.stages import stageable, staged
from withstand.recipes.setups.vision.pictures import CropSetup

SETUP = CropSetup()


def experiment(
    setup: CropSetup = SETUP,
    *,
    base: str = "simclr",
    stages: int = 3,
    clusters: int = 10,
    fresh: bool = False,
    small: Small = "merge",
) -> Experiment:
    """Return the experiment of the last stage, with those before it inside.

    Args:
        setup: data, network, budget; epochs are those of each stage.
        base: the method that is staged, by its name in `withstand list`.
        stages: how many times it is trained, the first time plainly.
        clusters: into how many each stage's features split each group.
        fresh: each stage trains a new encoder; else it goes on with the last one's.
        small: what becomes of groups smaller than a batch: merge joins neighbours, skip leaves them out.
    """
    plain = stageable(base, setup)
    return staged(plain, stages=stages, clusters=clusters, fresh=fresh, small=small)
