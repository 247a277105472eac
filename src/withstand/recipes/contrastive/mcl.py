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
from functools import partial

from withstand.core.errors import ConfigError
from withstand.core.finding import Table
from withstand.core.part import again
from withstand.core.random import derive, isolated
from withstand.core.roles import Model
from withstand.data.derived.group_batches import Small
from withstand.data.derived.subset import Subset
from withstand.data.derived.tinted import Tinted, Told
from withstand.data.load import splits
from withstand.engine.experiment import Experiment
from withstand.methods.contrastive.mcl import MCL
from withstand.methods.contrastive.simclr import SimCLR
from withstand.methods.shared.labelled import LabelledMethod
from withstand.models.blocks.concatenated import Concatenated
from withstand.recipes.catalogue import entry
from withstand.recipes.claim import Claim
from withstand.recipes.setups.pictures import PictureSetup, experiment_on_pictures
from withstand.recipes.trial import accuracies, budget, refuse_other_scale, trained
from withstand.views.compose import Compose, TwoViews
from withstand.views.pictures.noise import GaussianNoise
from withstand.views.pictures.padded_crop import PaddedCrop

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


def claim(*, scale: str = "small", seeds: int = 3) -> Claim:
    """Compare two stages with two plain encoders of equal size, by the kind of thing before a ground of random hue.

    2,000 of the package's Fashion-MNIST pictures are white on one of ten hues, which no view changes. The hue's own
    accuracy, and one encoder alone, stand beside.
    """
    refuse_other_scale(scale)
    system, baseline, rows = [], [], []
    for seed in range(seeds):
        with isolated(seed, "claim"):
            plain = _tinted(seed, 10)
            other = replace(_tinted(seed, 10), plan=replace(plain.plan, seed=derive(seed, "other") % 2**31))
            two = staged(plain, stages=2, fresh=True)
        later = trained(two)
        assert isinstance(later, Concatenated)
        alone = later.parts()[0]
        encoders = {"two stages": later, "two encoders": Concatenated([alone, trained(other)]), "one": alone}
        found = {
            name: [_accuracy(encoder, plain, told) for told in ("thing", "tint")] for name, encoder in encoders.items()
        }
        system.append(found["two stages"][0])
        baseline.append(found["two encoders"][0])
        rows.append((seed, *(share for pair in found.values() for share in pair)))
    heads = tuple(f"{told}, {name}" for name in found for told in ("thing", "hue"))
    return Claim(
        slug="mcl",
        statement="a second stage with negatives of one cluster learns what the first left out, more than a second run",
        quantity="kNN accuracy of the thing",
        system=tuple(system),
        baseline=tuple(baseline),
        names=("two stages", "two encoders"),
        protocol={**budget(two), "probe": "kNN, k 20, T 0.07, cosine", "data": "2,000 Fashion-MNIST pictures, tinted"},
        tables={"kNN accuracy of thing and hue": Table(("seed", *heads), tuple(rows))},
    )


def _tinted(seed: int, epochs: int) -> Experiment:
    """Return SimCLR's experiment on tinted pictures, with views that leave things and hues as they are."""
    setup = replace(SETUP, width=8, batch=128, epochs=epochs, seed=seed)
    method = partial(SimCLR, temperature=0.2)
    plain = experiment_on_pictures("simclr", method, (_views, _views), replace(setup, data=_parts("thing")[0]))
    return replace(plain, test=_parts("thing")[1])


def _views(side: int) -> TwoViews:
    return TwoViews(Compose((PaddedCrop(side // 10), GaussianNoise(0.05))))


def _parts(told: Told) -> tuple[Tinted, Tinted]:
    train, test = splits(SETUP.data)
    return Tinted(Subset(train, range(2000)), told=told), Tinted(test, told=told, seed=1)


def _accuracy(encoder: Model, plain: Experiment, told: Told) -> float:
    train, test = _parts(told)
    return accuracies(encoder, replace(plain, source=train, test=test))["kNN accuracy"]
