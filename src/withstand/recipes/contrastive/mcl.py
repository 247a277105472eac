"""MCL: a contrastive method in stages, each with negatives that the earlier ones cannot tell from a picture.

paper: Learning the Unlearned: Mitigating Feature Suppression in Contrastive Learning (Zhang, Lan, Chen, Wang; ECCV
  2024)
claims: contrastive learning leaves out what it can do without; trained again with negatives from a picture's own
  cluster alone, it learns that as well, and the features of all stages together hold both
learns from: unlabelled pictures, photos, images; the views of the method that it stages
use it when: easy things, such as colors, stand before others that matter; encoders of several times the size are fine
not for: groups smaller than a batch: with few pictures keep clusters and stages few
command: withstand train mcl --base simclr --stages 3
time: 186 s of a processor for the claim, 3 seeds
reached: undecided: kNN accuracy of the thing 0.477 ± 0.012 after two stages, 0.460 ± 0.009 by two encoders that were
  trained apart (2,000 tinted Fashion-MNIST pictures, ResNet of width 8, 10 epochs a stage)
"""

from dataclasses import fields, replace

from withstand.core.errors import ConfigError
from withstand.core.part import again
from withstand.core.random import derive
from withstand.data.derived.group_batches import Small
from withstand.engine.experiment import Experiment
from withstand.methods.contrastive.mcl import MCL
from withstand.methods.shared.labelled import LabelledMethod
from withstand.recipes.catalogue import entry
from withstand.recipes.setups.pictures import PictureSetup

SETUP = PictureSetup()


def experiment(
    setup: PictureSetup = SETUP,
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
    return staged(_base(base, setup), stages=stages, clusters=clusters, fresh=fresh, small=small)


def staged(
    plain: Experiment, *, stages: int = 3, clusters: int = 10, fresh: bool = False, small: Small = "merge"
) -> Experiment:
    """Return an experiment's method in stages: each stage has the plan's budget, and a seed of its own."""
    if stages < 1:
        raise ConfigError(f"stages must be at least 1, not {stages!r}")
    current, seed = replace(plain, name="mcl"), plain.plan.seed
    for stage in range(1, stages):
        method = MCL(
            again(plain.method),
            again(current.method.encoder),
            samples=len(plain.source),
            clusters=clusters,
            fresh=fresh,
            small=small,
        )
        plan = replace(plain.plan, seed=derive(seed, "stage", stage) % 2**31)
        current = replace(plain, name="mcl", method=method, plan=plan, first=current)
    return current


def _base(base: str, setup: PictureSetup) -> Experiment:
    """Return the experiment of a method that can be staged, by its recipe's name."""
    module = entry(base).module()
    shared = getattr(module, "SETUP", None)
    if not isinstance(shared, PictureSetup) or module.__name__ == __name__:
        raise ConfigError(
            f"base {base!r} cannot be staged: name a method that learns from views of pictures, as simclr"
        )
    made: Experiment = module.experiment(
        replace(shared, **{item.name: getattr(setup, item.name) for item in fields(setup)})
    )
    if isinstance(made.method, LabelledMethod):
        raise ConfigError(f"base {base!r} learns from labels: name a method without them, as simclr")
    return made
