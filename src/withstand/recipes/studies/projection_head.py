"""Projection head: what it throws away, and a fixed head that weighs features in its place.

paper: Investigating the Benefits of Projection Head for Representation Learning (Xue, Gan, Ni, Joshi, Mirzasoleiman;
  ICLR 2024)
claims: from layer to layer training weighs features more unequally, and the head drops what augmentation disturbs, so
  that features before the head serve tasks better that need it; a fixed head that weighs features in a falling series
  does the same under control
learns from: unlabelled pictures, photos, images; two views of each
use it when: it is to be known what a head does to features, or a head without parameters is wanted
not for: the best accuracy at any price: a trained head is the usual choice
command: withstand train projection-head --data fashion-mnist-small --kappa 1.02
time: 210 s of a processor for the claim, 3 seeds
reached: reproduced: linear accuracy on a pasted digit 0.527 ± 0.027 before the head, 0.349 ± 0.018 after it (digits on
  5,000 CIFAR-10 pictures, ResNet of width 8, 6 epochs)
"""

from dataclasses import replace
from functools import partial
from statistics import mean
from typing import Literal, get_args

from withstand.core.errors import ConfigError, nearest
from withstand.core.finding import Cell, Table
from withstand.core.random import isolated
from withstand.core.roles import Model
from withstand.data.derived.grouped import Grouped
from withstand.data.derived.pasted import Pasted
from withstand.data.derived.shrunk import Shrunk
from withstand.data.load import splits
from withstand.engine.experiment import Experiment
from withstand.engine.optimizers import Adam
from withstand.evaluation.representation.projection_head import Layers
from withstand.methods.contrastive.simclr import SimCLR
from withstand.methods.contrastive.supcon import SupCon
from withstand.models.blocks.heads import ProjectionHead
from withstand.models.blocks.reweighting import ReweightingHead
from withstand.recipes.claim import Claim
from withstand.recipes.setups.pictures import TwoViewSetup, experiment_on_pictures
from withstand.recipes.trial import budget, fixed, refuse_other_scale, small, trained
from withstand.views.compose import Compose, TwoViews
from withstand.views.pictures.crop import RandomResizedCrop
from withstand.views.pictures.geometry import Erase
from withstand.views.presets import simclr_large, simclr_small

SETUP = TwoViewSetup()
Head = Literal["reweighting", "mlp", "linear", "none"]
EPOCHS = 6
"""Passes over the claim's 5,000 pictures."""
GROUPS = (0, 2, 0, 2, 0, 1, 0, 1, 2, 1)
"""Fashion-MNIST's classes as tops, shoes and the rest."""


def experiment(
    setup: TwoViewSetup = SETUP,
    *,
    head: Head = "reweighting",
    kappa: float = 1.02,
    temperature: float = 0.5,
    smallest_crop: float = 0.08,
) -> Experiment:
    """Return the experiment.

    Args:
        setup: data, network, budget.
        head: reweighting, the fixed one; mlp, SimCLR's; linear; none.
        kappa: the fixed head multiplies feature i by kappa to the power -i; 1 is no head.
        temperature: the loss's tau.
        smallest_crop: least share of the area that a crop of a small picture keeps.
    """
    method = partial(_simclr, head=head, kappa=kappa, temperature=temperature)
    views = (partial(simclr_small, smallest_crop=smallest_crop), simclr_large)
    return experiment_on_pictures("projection-head", method, views, setup)


def _simclr(encoder: Model, *, head: Head, kappa: float, temperature: float) -> SimCLR:
    return SimCLR(encoder, head=made(head, encoder.width, kappa), temperature=temperature)


def made(head: Head, width: int, kappa: float = 1.02) -> Model | None:
    """Return a head for features of a width; None stands for a method's own perceptron.

    Raises:
        ConfigError: an unknown head.
    """
    if head not in get_args(Head):
        raise ConfigError(f"head {head!r} is unknown: {nearest(str(head), get_args(Head))}")
    if head == "mlp":
        return None
    if head == "linear":
        return ProjectionHead(width, width, width, layers=1, last_bias=False)
    return ReweightingHead(width, kappa if head == "reweighting" else 1.0)


def claim(*, scale: str = "small", seeds: int = 3) -> Claim:
    """Compare features before and after the head for a digit that half of the views hide, pasted on CIFAR-10.

    Beside it stand: the same when no view hides it; the fixed head and none; and classes of Fashion-MNIST before and
    after the head of a network that learnt three groups of them from labels.
    """
    refuse_other_scale(scale)
    before, after = [], []
    rows: list[tuple[Cell, ...]] = []
    for seed in range(seeds):
        for hidden in (0.5, 0.0):
            trial = _pasted(seed, "mlp", hidden)
            found = _layers(trial)
            rows.append(("digit on CIFAR-10", f"SimCLR, hidden in {hidden:.0%} of the views", seed, *found))
            if hidden:
                before.append(found[0])
                after.append(found[1])
        others: tuple[tuple[Head, str], ...] = (("reweighting", "fixed head"), ("none", "no head"))
        for head, called in others:
            found = _layers(_pasted(seed, head, 0.5))
            rows.append(("digit on CIFAR-10", f"SimCLR, {called}, hidden in 50% of the views", seed, *found))
        rows.append(("10 classes of clothes", "SupCon on 3 groups of them", seed, *_layers(_grouped(seed))))
    return Claim(
        slug="projection-head",
        statement="features before the head keep what augmentation disturbs better than those after it",
        quantity="linear accuracy on the digit",
        system=tuple(before),
        baseline=tuple(after),
        names=("before the head", "after the head"),
        protocol={
            **budget(trial),
            "probe": "linear, C 0.1, standardised features; weighted: all features scaled by one factor; 2,000 train "
            "and 1,000 test samples",
            "same network": "both figures are of one network",
        },
        tables={
            "before and after the head": Table(("wanted", "trained by", *_COLUMNS), tuple(_averaged(rows, seeds))),
        },
    )


_COLUMNS = ("linear, before", "linear, after", "weighted, before", "weighted, after", "kNN, before", "kNN, after")


def _pasted(seed: int, head: Head, hidden: float) -> Experiment:
    """Return a trial on CIFAR-10, shrunk, with a digit in the corner, which views hide with a probability."""
    with isolated(seed, "claim"):
        trial = experiment(small(SETUP, seed, epochs=EPOCHS, batch=128), head=head)
    train, test = (
        Pasted(Shrunk(ground), stamps, seed=seed)
        for ground, stamps in zip((trial.source, trial.test), splits("digits"), strict=True)
        if ground is not None
    )
    # Crops as small as SimCLR's lose the corner in nearly every view, whatever else is done; flipped digits are none.
    color = simclr_small(16).first
    assert isinstance(color, Compose)
    hide = Erase(train.box, probability=hidden)
    view = TwoViews(Compose((hide, RandomResizedCrop(16, (0.6, 1.0)), *color.views[1:])))
    return fixed(replace(trial, source=train, test=test, view=view), Adam())


def _grouped(seed: int) -> Experiment:
    """Return a trial of supervised contrastive learning on tops, shoes and the rest of Fashion-MNIST, shrunk."""
    with isolated(seed, "claim"):
        trial = experiment(replace(small(SETUP, seed, epochs=3, batch=128), data="fashion-mnist-small"), head="mlp")
        method = SupCon(trial.method.encoder, classes=len(set(GROUPS)))
    assert trial.test is not None
    fine = Shrunk(trial.source)
    view = simclr_small(14, smallest_crop=0.2)
    coarse = replace(
        trial, source=Grouped(fine, GROUPS), labelled=fine, test=Shrunk(trial.test), view=view, method=method
    )
    return fixed(coarse, Adam())


def _layers(trial: Experiment) -> tuple[float, ...]:
    """Train, and return accuracies before and after the head: linear, as weighted, kNN."""
    trained(trial)
    source = trial.labelled or trial.source
    table = Layers(samples=2000).evaluate(trial.method, source, test=trial.test).tables["three readings of each layer"]
    by_layer = {str(row[1]): row[2:] for row in table.rows}
    pairs = zip(by_layer["encoder"], by_layer.get("head", by_layer["encoder"]), strict=True)
    return tuple(float(value) for pair in pairs for value in pair if isinstance(value, float))


def _averaged(rows: list[tuple[Cell, ...]], seeds: int) -> list[tuple[Cell, ...]]:
    """Return means over seeds, in the order of the first seed's rows."""
    found: dict[tuple[Cell, Cell], list[tuple[Cell, ...]]] = {}
    for wanted, by, _, *values in rows:
        found.setdefault((wanted, by), []).append(tuple(values))
    return [(*key, *(mean(map(float, column)) for column in zip(*some, strict=True))) for key, some in found.items()]
