"""The claim on what a projection head throws away."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import mean

from withstand.claims.protocol.claim import Claim, Tables
from withstand.claims.protocol.measures import Figures, budget, fixed, on_cifar10, test_of, trained
from withstand.core.findings.finding import Table
from withstand.core.part import Tree
from withstand.data.derived.grouped import Grouped
from withstand.data.derived.shrunk import Shrunk
from withstand.data.derived.synthetic.pasted import Pasted
from withstand.data.load import splits
from withstand.engine.experiment import Experiment
from withstand.engine.optimizers import Adam
from withstand.evaluation.representation.projection_head import Layers
from withstand.methods.supervised_contrast.supcon import SupCon
from withstand.recipes.studies.projection_head import SETUP, Head, experiment
from withstand.views.compose import Compose, TwoViews
from withstand.views.pictures.crop import RandomResizedCrop
from withstand.views.pictures.geometry import Erase
from withstand.views.presets import simclr_small

GROUPS = (0, 2, 0, 2, 0, 1, 0, 1, 2, 1)
"""Fashion-MNIST's classes as tops, shoes and the rest."""
HIDDEN, SEEN = "SimCLR, hidden in 50% of the views", "SimCLR, hidden in 0% of the views"
GROUPED = "SupCon on 3 groups of them"
BEFORE, AFTER = "linear, before", "linear, after"
COLUMNS = (BEFORE, AFTER, "weighted, before", "weighted, after", "kNN, before", "kNN, after")


def claim() -> Claim[Experiment, Figures]:
    """Compare features before and after the head for a digit that half of the views hide, pasted on CIFAR-10.

    Beside it stand: the same when no view hides it; the fixed head and none; and classes of Fashion-MNIST before and
    after the head of a network that learnt three groups of them from labels.
    """
    return Claim(
        statement="features before the head keep what augmentation disturbs better than those after it",
        quantity="linear accuracy on the digit",
        names=("before the head", "after the head"),
        arms={
            HIDDEN: _pasted("mlp", 0.5),
            SEEN: _pasted("mlp", 0.0),
            "SimCLR, fixed head, hidden in 50% of the views": _pasted("reweighting", 0.5),
            "SimCLR, no head, hidden in 50% of the views": _pasted("none", 0.5),
            GROUPED: _grouped,
        },
        measure=_layers,
        figures=lambda found: (found[HIDDEN][BEFORE], found[HIDDEN][AFTER]),
        protocol=_protocol,
        tables=_tables,
    )


def _pasted(head: Head, hidden: float) -> Callable[[int], Experiment]:
    """Return what makes a trial on CIFAR-10, shrunk, with a digit in the corner, which views hide by chance."""

    def make(seed: int) -> Experiment:
        trial = experiment(on_cifar10(SETUP, seed, epochs=6, batch=128), head=head)
        train, test = (
            Pasted(Shrunk(ground), stamps, seed=seed)
            for ground, stamps in zip((trial.source, test_of(trial)), splits("digits"), strict=True)
        )
        # Crops as small as SimCLR's lose the corner in nearly every view, whatever else is done; flipped digits are
        # none.
        color = simclr_small(16).first
        assert isinstance(color, Compose)  # as the preset is made
        hide = Erase(train.box, probability=hidden)
        view = TwoViews(Compose((hide, RandomResizedCrop(16, (0.6, 1.0)), *color.views[1:])))
        return fixed(replace(trial, source=train, test=test, view=view), Adam())

    return make


def _grouped(seed: int) -> Experiment:
    """Return a trial of supervised contrastive learning on tops, shoes and the rest of Fashion-MNIST, shrunk."""
    setup = replace(on_cifar10(SETUP, seed, epochs=3, batch=128), data="fashion-mnist-small")
    trial = experiment(setup, head="mlp")
    method = SupCon(trial.method.encoder, classes=len(set(GROUPS)))
    fine, view = Shrunk(trial.source), simclr_small(14, smallest_crop=0.2)
    coarse = replace(
        trial, source=Grouped(fine, GROUPS), labelled=fine, test=Shrunk(test_of(trial)), view=view, method=method
    )
    return fixed(coarse, Adam())


def _layers(trial: Experiment) -> Figures:
    """Train, and return accuracies before and after the head: linear, as weighted, kNN."""
    method, source = trained(trial), trial.labelled or trial.source
    table = Layers(samples=2000).evaluate(method, source, test=trial.test).tables["three readings of each layer"]
    by_layer = {str(row[1]): row[2:] for row in table.rows}
    pairs = zip(by_layer["encoder"], by_layer.get("head", by_layer["encoder"]), strict=True)
    values = [float(value) for pair in pairs for value in pair if isinstance(value, float)]
    return dict(zip(COLUMNS, values, strict=True))


def _protocol(trials: Mapping[str, Experiment], _: object) -> dict[str, Tree]:
    return {
        **budget(trials[HIDDEN]),
        "probe": "linear, C 0.1, standardised features; weighted: all features scaled by one factor; 2,000 train "
        "and 1,000 test samples",
        "same network": "both figures are of one network",
    }


def _tables(found: Sequence[Mapping[str, Figures]]) -> Tables:
    """Return means over seeds."""
    rows = tuple(
        (
            "10 classes of clothes" if name == GROUPED else "digit on CIFAR-10",
            name,
            *(mean(arms[name][column] for arms in found) for column in COLUMNS),
        )
        for name in found[0]
    )
    return {
        "before and after the head": Table(
            ("wanted", "trained by", *COLUMNS), rows, units=dict.fromkeys(COLUMNS, "share")
        )
    }
