"""The claim of AdvEncoder."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from withstand.claims.protocol.claim import Claim, Tables
from withstand.claims.protocol.measures import Figures, beside, budget, first, on_cifar10, trained
from withstand.core.part import Tree
from withstand.data.derived.subset import Subset
from withstand.data.load import splits
from withstand.engine.experiment import Experiment
from withstand.evaluation.probes.named import KNN, Linear
from withstand.evaluation.robustness.encoders.fooling import BY_CHANCE, FOOLED, Fooling
from withstand.recipes.attackers import advencoder
from withstand.recipes.contrastive import simclr

OURS, WITHOUT = "AdvEncoder", "without high frequencies"
KNOWN = 5
"""Classes that the attacker has pictures of."""
HEADS = (KNN(), Linear(C=1.0))
JUDGE = Fooling(HEADS)
COSINE = "cosine to clean features"
CHANGED, NOISE = f"{FOOLED}, {HEADS[1].name}", f"{BY_CHANCE}, {HEADS[1].name}"


def claim() -> Claim[Experiment, Figures]:
    """Compare one perturbation of 10/255 with random signs, on held-out CIFAR-10 pictures of all classes.

    The attacker learns on pictures of half the classes, without their labels, on SimCLR's encoder of five epochs; heads
    are fitted to clean features afterwards. Beside it: the same without the term that raises high frequencies, other
    heads, and accuracies' loss.
    """
    return Claim(
        statement="one perturbation that was learnt on an encoder changes more predictions of unknown heads than noise",
        quantity=FOOLED,
        names=(OURS, "random signs"),
        arms={OURS: lambda seed: trial(seed, 1.0), WITHOUT: lambda seed: trial(seed, 0.0)},
        measure=measure,
        figures=lambda found: (found[OURS][CHANGED], found[OURS][NOISE]),
        protocol=_protocol,
        tables=_tables,
    )


def trial(seed: int, high_frequency: float) -> Experiment:
    """Return a trial of about 300 steps at a rate of 1e-3."""
    victim = simclr.experiment(on_cifar10(simclr.SETUP, seed))
    train, _ = splits("cifar10", seed=0)
    assert train.labels is not None
    surrogate = Subset(train, (train.labels < KNOWN).nonzero()[:, 0])
    setup = replace(advencoder.SETUP, victim=victim, data=surrogate, epochs=4, batch=64, learning_rate=1e-3, seed=seed)
    return advencoder.experiment(setup, high_frequency=high_frequency)


def measure(trial: Experiment) -> Figures:
    """Return what heads of all classes make of held-out pictures under the attack."""
    train, test = splits("cifar10", seed=0)
    found = JUDGE.evaluate(trained(trial), train, test=test)
    figures = {name: measure.value for name, measure in found.figures.items()}
    table = found.tables["heads"]
    for row in table.rows:
        told = dict(zip(table.columns, row, strict=True))
        for name in ("accuracy", "under attack", "under noise"):
            figures[f"{name}, {told['head']}"] = float(str(told[name]))
    return figures


def _protocol(arms: Mapping[str, Experiment], found: Sequence[Mapping[str, Figures]]) -> dict[str, Tree]:
    trial = first(arms)
    return {**budget(trial), "classes known": KNOWN, "heads": [head.name for head in HEADS]}


def _tables(found: Sequence[Mapping[str, Figures]]) -> Tables:
    heads = [head.name for head in HEADS]
    shares = [f"{name}, {head}" for head in heads for name in (FOOLED, BY_CHANCE, "accuracy", "under attack")]
    return {**{name: beside(found, name, "share") for name in shares}, COSINE: beside(found, COSINE, "cosine")}
