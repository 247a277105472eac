"""The claim of MCL."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from withstand.claims.protocol.claim import Claim, Tables
from withstand.claims.protocol.measures import KNN, PROBES, Figures, accuracies, budget, trained
from withstand.core.findings.finding import Table
from withstand.core.part import Tree
from withstand.core.random import derive
from withstand.core.roles import Model, network_of
from withstand.data.derived.subset import Subset
from withstand.data.derived.synthetic.tinted import Tinted, Told
from withstand.data.load import splits
from withstand.engine.experiment import Experiment
from withstand.methods.contrastive.simclr import SimCLR
from withstand.models.blocks.concatenated import Concatenated
from withstand.recipes.contrastive.mcl import SETUP
from withstand.recipes.setups.staged.stages import staged
from withstand.recipes.setups.vision.pictures import experiment_on_pictures
from withstand.views.compose import Compose, TwoViews
from withstand.views.pictures.noise import GaussianNoise
from withstand.views.pictures.padded_crop import PaddedCrop

PICTURES = 2000
TWO, OTHER, ONE = "two stages", "two encoders", "one"


def claim() -> Claim[tuple[Experiment, Experiment], Figures]:
    """Compare two stages with two plain encoders of equal size, by the kind of thing before a ground of random hue.

    2,000 of the package's Fashion-MNIST pictures are white on one of ten hues, which no view changes. The hue's own
    accuracy, and one encoder alone, stand beside. The first stage is one of the two plain encoders.
    """
    return Claim(
        statement="a second stage with negatives of one cluster learns what the first left out, more than a second run",
        quantity=f"{KNN} of the thing",
        names=(TWO, OTHER),
        arms={"stages and another run": _pair},
        measure=_measure,
        figures=lambda found: (found["stages and another run"][f"thing, {TWO}"], _other(found)),
        protocol=_protocol,
        tables=_tables,
    )


def _pair(seed: int) -> tuple[Experiment, Experiment]:
    """Return the experiment of two stages, and that of a further encoder."""
    plain, like = _tinted(seed, 10), _tinted(seed, 10)
    other = replace(like, plan=replace(plain.plan, seed=derive(seed, "other") % 2**31))
    return staged(plain, stages=2, fresh=True), other


def _measure(pair: tuple[Experiment, Experiment]) -> Figures:
    two, other = pair
    later = network_of(trained(two), "encoder", Concatenated)
    alone = later.parts()[0]
    encoders = {TWO: later, OTHER: Concatenated([alone, trained(other).encoder]), ONE: alone}
    found: Figures = {}
    for name, encoder in encoders.items():
        found |= {
            f"thing, {name}": _accuracy(encoder, other, "thing"),
            f"hue, {name}": _accuracy(encoder, other, "tint"),
        }
    return found


def _other(found: Mapping[str, Figures]) -> float:
    return found["stages and another run"][f"thing, {OTHER}"]


def _protocol(pairs: Mapping[str, tuple[Experiment, Experiment]], _: object) -> dict[str, Tree]:
    two, _other = pairs["stages and another run"]
    return {**budget(two), "probe": PROBES[KNN], "data": f"{PICTURES:,} Fashion-MNIST pictures, tinted"}


def _tables(found: Sequence[Mapping[str, Figures]]) -> Tables:
    rows = [arms["stages and another run"] for arms in found]
    return {
        "kNN accuracy of thing and hue": Table(
            ("seed", *rows[0]),
            tuple((seed, *figures.values()) for seed, figures in enumerate(rows)),
            units=dict.fromkeys(rows[0], "share"),
        )
    }


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
    return Tinted(Subset(train, range(PICTURES)), told=told), Tinted(test, told=told, seed=1)


def _accuracy(encoder: Model, plain: Experiment, told: Told) -> float:
    train, test = _parts(told)
    return accuracies(encoder, replace(plain, source=train, test=test))[KNN]
