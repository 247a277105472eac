"""What recipes of adversarial training on labelled pictures share: the experiment, and accuracy under attack."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from withstand.attacks.inputs.gradient import PGD
from withstand.attacks.objectives import Margin
from withstand.core.batch import unit_range
from withstand.core.errors import DataError
from withstand.core.finding import Table
from withstand.core.random import permutation
from withstand.core.roles import Method, Model, Source
from withstand.core.threat import Ball, parse_eps
from withstand.core.victim import Victim
from withstand.data.derived.imbalanced import Imbalance, Imbalanced
from withstand.data.derived.subset import labelled
from withstand.data.load import splits
from withstand.engine.experiment import Experiment, Plan
from withstand.engine.optimizers import SGD, Optimizer
from withstand.engine.schedules import WarmupCosine
from withstand.evaluation.features import embed
from withstand.evaluation.probes.linear import fit_linear
from withstand.methods.shared.labelled import LabelledMethod
from withstand.recipes.claim import Claim
from withstand.recipes.setups.pictures import PictureSetup, encoder
from withstand.recipes.trial import budget, side_by_side, trained
from withstand.views.compose import MultiCrop
from withstand.views.pictures.padded_crop import PaddedCrop

SAMPLES = 500
"""Test samples on which a claim's accuracy under attack is measured."""


@dataclass(frozen=True, kw_only=True)
class RobustSetup(PictureSetup):
    """What a recipe of adversarial training can be told besides.

    Args:
        learning_rate: of SGD, for a batch of 128; scaled with the batch.
        eps: radius of the inner attack (Linf), in input units or like 8/255.
        steps: of the inner attack.
    """

    batch: int = 128
    learning_rate: float = 0.05
    eps: str = "8/255"
    steps: int = 10


@dataclass(frozen=True, kw_only=True)
class ImbalancedSetup(RobustSetup):
    """What a recipe for classes of unequal size can be told besides.

    Args:
        ratio: the training set's smallest class is cut to this share of the largest; 1 leaves it as it is. The test
            part stays whole.
        imbalance: which classes are cut: step, the second half; exp, more and more.
    """

    ratio: float = 1.0
    imbalance: Imbalance = "step"


def experiment_with_labels(
    name: str,
    method: Callable[[Model, Source], Method],
    setup: PictureSetup,
    *,
    optimizer: Optimizer | None = None,
    crop: PaddedCrop | None = None,
) -> Experiment:
    """Return the experiment of a method that learns from labels.

    Args:
        name: the recipe's slug.
        method: makes the method round an encoder, for a source with labels.
        setup: data, network, budget.
        optimizer: in place of SGD with momentum 0.9 and weight decay 5e-4.
        crop: how pictures are shifted and mirrored; None for shifts by an eighth of the side.

    Raises:
        DataError: no labels, or no pictures.
    """
    train, test = splits(setup.data, size=setup.size, seed=0)
    if len(train.shape) != 3:
        raise DataError(f"{name} learns from pictures (C, H, W), not samples of shape {train.shape}")
    if train.labels is None:
        raise DataError(f"{name} learns from labels, and the data have none: acl hardens an encoder without labels")
    train = labelled(train)
    if isinstance(setup, ImbalancedSetup) and setup.ratio != 1:
        train = Imbalanced(train, setup.imbalance, ratio=setup.ratio)
    plan = Plan(
        epochs=setup.epochs,
        batch=setup.batch,
        optimizer=optimizer or SGD(setup.learning_rate * setup.batch / 128, weight_decay=5e-4),
        schedule=WarmupCosine(1.0, share=0.1),
        seed=setup.seed,
        processes=setup.processes,
    )
    view = MultiCrop((crop or PaddedCrop(max(1, train.shape[-1] // 8)),), (1,))
    network = encoder(setup.model, setup.width, setup.depth, train.shape)
    return Experiment(name, train, view, method(network, train), plan, test)


def class_count(source: Source) -> int:
    """Return how many labels a labelled source has."""
    assert source.labels is not None
    return max(len(source.classes), int(source.labels.max()) + 1, 2)


def madry(eps: float, steps: int) -> PGD:
    """Return the usual inner attack: steps of 2.5 eps / steps from a uniform start, the last point."""
    return PGD(Ball("linf", eps), steps=steps, keep_best=False)


def trained_network(trial: Experiment) -> nn.Module:
    """Train a trial and return its classifier in eval mode."""
    trained(trial)
    network: nn.Module = trial.method.network()  # type: ignore[operator]
    return network.eval()


def withstood(network: nn.Module, trial: Experiment, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return which test samples are right, which are right under attack too, and their labels, each `(N,)`.

    The attacks are PGD with 20 steps on the cross-entropy and on the margin.
    """
    assert trial.test is not None
    rows = permutation(len(trial.test), 0, "claim")[:SAMPLES].sort().values
    batch = trial.test[rows]
    assert batch.y is not None
    x, victim = unit_range(batch.x), Victim(network)
    attack = PGD(Ball("linf", eps), steps=20, drop_finished=True)
    with torch.no_grad():
        clean = network(x).argmax(1) == batch.y
    holds = clean.clone()
    for one in (attack, replace(attack, objective=Margin())):
        holds &= ~one(victim, x, batch.y, generator=0).success
    return clean, holds, batch.y


def under_attack(
    slug: str,
    statement: str,
    ours: Callable[[int], Experiment],
    theirs: Callable[[int], Experiment],
    *,
    names: tuple[str, str],
    seeds: int,
    eps: str = "8/255",
) -> Claim:
    """Train a system and its baseline, seed by seed, and return the claim on accuracy under attack.

    An encoder that learnt without labels gets a linear classifier, fitted on clean features.

    Args:
        slug: the recipe.
        statement: what the paper claims.
        ours: makes the system's experiment for a seed.
        theirs: makes the baseline's.
        names: how system and baseline are called.
        seeds: how many.
        eps: the radius that they are attacked within.
    """

    def measure(trial: Experiment) -> tuple[float, float]:
        if isinstance(trial.method, LabelledMethod):
            network = trained_network(trial)
        else:
            encoder = trained(trial)
            network = nn.Sequential(encoder, fit_linear(embed(encoder, trial.source)).as_linear()).eval()
        clean, holds, _ = withstood(network, trial, parse_eps(eps))
        return share(clean), share(holds)

    found, pair = side_by_side(ours, theirs, names, seeds, measure)
    system, baseline = (tuple(robust for _, robust in found[name]) for name in names)
    judge = "" if isinstance(pair[0].method, LabelledMethod) else " of a linear classifier on clean features"
    return Claim(
        slug=slug,
        statement=statement,
        quantity=f"accuracy{judge} under PGD-20 at {eps}",
        system=system,
        baseline=baseline,
        names=names,
        protocol={**budget(pair[0]), "attack": f"PGD-20 on cross-entropy and on the margin, {SAMPLES} test samples"},
        tables={"clean and robust accuracy": both(found)},
    )


def both(found: Mapping[str, Sequence[tuple[float, float]]], second: str = "under attack") -> Table:
    """Return the table of (clean, robust) accuracies by seed, from each system's; `second` names the robust ones."""
    columns = [f"{name}, {kind}" for name in found for kind in ("clean", second)]
    seeds = zip(*found.values(), strict=True)
    rows = [(seed, *(value for pair in pairs for value in pair)) for seed, pairs in enumerate(seeds)]
    return Table(("seed", *columns), tuple(rows))


def by_class(right: Tensor, y: Tensor) -> list[float]:
    """Return the share of true values of each label that occurs, in the labels' order."""
    return [share(right[y == label]) for label in sorted(set(y.tolist()))]


def share(right: Tensor) -> float:
    """Return the share of true values."""
    return right.float().mean().item()
