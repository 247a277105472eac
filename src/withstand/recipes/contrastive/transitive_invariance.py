"""Transitive invariance: things that look alike, one thing at two times, and both one after the other.

paper: Transitive Invariance for Self-supervised Visual Representation Learning (Wang, He, Gupta; ICCV 2017)
claims: pairs that two edges of a graph join, one by looks and one by time, teach both invariances at once, and
  representations learnt from all kinds of pairs are better than from pairs by looks or by time alone
learns from: clips, unlabelled: moving patches are tracked; tracks as arrays; or pictures, of which tracks are simulated
  by --simulate
use it when: you have videos, and what you want to recognise is seen from several sides, sizes and lights in them
not for: still pictures that ordinary views cover: simulated tracks bring nothing that a view does not
differences: patches that move are followed by normalised cross-correlation, in place of motion boundaries and KCF
  trackers; the network is a ResNet, not a VGG-16, and starts from new weights, not from those that found what looks
  alike
time: 96 s of a processor a seed for the claim, four arms each
reached: not the claim at this scale: linear accuracy on changed pictures 0.411 ± 0.015 from all kinds of pairs, 0.427 ±
  0.024 by the better of looks and time alone, effect -0.016 [-0.030, -0.002], 10 seeds (3,000 Fashion-MNIST pictures
  with simulated tracks, ResNet of width 8, 4 epochs); 78 % of the pairs by looks were of one class
command: withstand train transitive-invariance --data clips.zip
"""

from dataclasses import replace
from typing import Literal, get_args

from withstand.core.errors import ConfigError, nearest
from withstand.core.part import again
from withstand.engine.experiment import Experiment
from withstand.evaluation.representation.pair_gallery import PairGallery
from withstand.methods.contrastive.transitive_invariance import KINDS, TransitiveInvariance
from withstand.methods.pretext.relative_position import RelativePosition
from withstand.methods.pretext.rotation import Rotation
from withstand.recipes.setups.vision.pictures import encoder, experiment_on_pictures
from withstand.recipes.setups.vision.tracks import TrackSetup
from withstand.views.compose import Compose
from withstand.views.pictures.colors.color_views import ColorJitter
from withstand.views.pictures.crop import RandomResizedCrop
from withstand.views.presets import crop_and_flip
from withstand.views.tracks import TrackViews

Seed = Literal["relative-position", "rotation", "pixels"]


SETUP = TrackSetup()


def experiment(
    setup: TrackSetup = SETUP,
    *,
    looks: Seed = "relative-position",
    looks_epochs: int = 10,
    kinds: str = ",".join(KINDS),
    neighbours: int = 3,
    clusters: int = 100,
    parents: int = 20,
    margin: float = 0.5,
    negatives: int = 4,
    warmup: int = 1,
    dim: int = 128,
) -> Experiment:
    """Return the experiment, with that of the network which finds what looks alike before it.

    Args:
        setup: data, network, budget.
        looks: what tells which tracks look alike: a network that learnt relative-position, as in the paper, or
            rotation; or pixels.
        looks_epochs: passes over the data by that network.
        kinds: of pairs that are learnt from, of inter, intra and transitive, with commas between.
        neighbours: by looks, of each track.
        clusters: of k-means; no more than there are tracks.
        parents: into how many clusters these are merged.
        margin: of the triplets, in cosine distance.
        negatives: of each pair.
        warmup: epochs of random negatives; then the hardest are taken.
        dim: width of the projection.
    """
    if looks not in get_args(Seed):
        raise ConfigError(f"looks {looks!r} is unknown: {nearest(str(looks), get_args(Seed))}")
    train, test = setup.parts()
    side = train.shape[-1]
    network = encoder(setup.model, setup.width, setup.depth, train.shape)
    whole = replace(setup, data=train, simulate=False, learning_rate=2 * setup.learning_rate)
    chain = Compose((RandomResizedCrop(side, (0.6, 1.0), flip=0.5), ColorJitter(0.2, 0.2, 0.2, 0.05)))
    method = TransitiveInvariance(
        network,
        samples=len(train),
        seed=None if looks == "pixels" else again(network),
        kinds=tuple(word.strip() for word in kinds.split(",")),
        neighbours=neighbours,
        clusters=min(clusters, len(train)),
        parents=parents,
        margin=margin,
        negatives=negatives,
        warmup=warmup,
        dim=dim,
    )
    made = experiment_on_pictures("transitive-invariance", lambda _: method, (_same, _same), whole)
    made = replace(made, source=train, test=test, view=TrackViews(chain), judges=(*made.judges, PairGallery()))
    if looks == "pixels":
        return made
    pretext = RelativePosition if looks == "relative-position" else Rotation
    first = replace(
        made,
        name=looks,
        view=crop_and_flip(side, smallest_crop=0.6, flip=0.5),
        method=pretext(again(network)),
        plan=replace(made.plan, epochs=looks_epochs),
    )
    return replace(made, first=first)


def _same(size: int) -> TrackViews:
    return TrackViews(RandomResizedCrop(size))
