"""The claim of SEER."""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor, nn

from withstand.claims.protocol.claim import Claim
from withstand.claims.protocol.measures import Figures, beside, budget, first, share, trained, versus
from withstand.core.part import Tree
from withstand.core.random import permutation
from withstand.core.roles import Model, Source
from withstand.data.derived.imbalanced import Imbalanced
from withstand.data.derived.joined import Joined
from withstand.data.derived.resized import Resized
from withstand.data.derived.subset import Subset
from withstand.data.load import load, splits
from withstand.engine.experiment import Experiment
from withstand.evaluation.features import embed
from withstand.evaluation.probes.linear import fit_linear
from withstand.recipes.non_contrastive.seer import SETUP, experiment

SHAPE = (3, 32, 32)
POOL = 2400
"""Pictures in each pool."""
ANIMALS = (2, 3, 4, 5, 6, 7)
"""CIFAR-10's labels of animals."""
OTHERS = "linear accuracy, mean over other tasks"
TASKS = ("CIFAR-10", "CIFAR-10, darkened", "digits")


class Darkened(nn.Module):
    """An encoder that meets its pictures at a third of their brightness.

    Args:
        encoder: takes pictures in [0, 1].
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor) -> Tensor:
        """Return features of pictures `(B, 3, H, W)`."""
        features: Tensor = self.encoder(x / 3)
        return features


def claim() -> Claim[Experiment, Figures]:
    """Compare SwAV on 2,400 pictures as they come with SwAV on 2,400 chosen ones, by tasks that neither pool is of.

    The curated pool is of CIFAR-10's animals, as many of each; the uncurated one of CIFAR-100's things and of clothes,
    unequally frequent. Both are passed over twelve times. The tasks are all of CIFAR-10, as it is and darkened, though
    the curated pool is a part of it, and digits, which neither pool has.
    """
    return Claim(
        statement="pictures that nobody chose teach more for other tasks than as many curated ones",
        quantity=OTHERS,
        names=("uncurated", "curated"),
        arms={"uncurated": lambda seed: _arm(uncurated(seed), seed), "curated": lambda seed: _arm(curated(seed), seed)},
        measure=_measure,
        figures=versus(OTHERS),
        protocol=_protocol,
        tables=lambda found: {task: beside(found, task, "share") for task in TASKS},
    )


def curated(seed: int) -> Source:
    """Return the balanced pool of one kind of thing."""
    whole = load("cifar10")
    assert whole.labels is not None
    order = permutation(len(whole), seed, "curated")
    each = [order[whole.labels[order] == label] for label in ANIMALS]
    rows = [int(row) for some in each for row in some[: POOL // len(ANIMALS)]]
    return Joined((Subset(whole, rows),))


def uncurated(seed: int) -> Source:
    """Return the pool of many things, unequally frequent."""
    both = (Imbalanced(load(name), "exp", ratio=0.1, seed=seed) for name in ("cifar100", "fashion-mnist-small"))
    things, clothes = (Resized(part, SHAPE) for part in both)
    count = min(len(things), POOL // 2)
    return Joined((_drawn(things, count, seed), _drawn(clothes, POOL - count, seed)))


def _drawn(source: Source, count: int, seed: int) -> Source:
    return Subset(source, permutation(len(source), seed, "uncurated")[:count].sort().values)


def _arm(pool: Source, seed: int) -> Experiment:
    setup = replace(SETUP, data=pool, width=8, epochs=12, seed=seed)
    return experiment(setup, prototypes=64, local_crops=0)


def _measure(trial: Experiment) -> Figures:
    encoder = trained(trial).encoder
    plain, digits = splits("cifar10"), splits("digits")
    shaped = Resized(digits[0], SHAPE), Resized(digits[1], SHAPE)
    probe = fit_linear(embed(encoder, plain[0]))
    dark = embed(Darkened(encoder).eval(), plain[1])
    clear = embed(encoder, plain[1])
    found = {
        "CIFAR-10": share(probe.predict(clear.x) == clear.labels),
        "CIFAR-10, darkened": share(probe.predict(dark.x) == dark.labels),
        "digits": _accuracy(encoder, *shaped),
    }
    return {**found, OTHERS: sum(found.values()) / len(found)}


def _accuracy(encoder: Model, train: Source, test: Source) -> float:
    judged = embed(encoder, test)
    return share(fit_linear(embed(encoder, train)).predict(judged.x) == judged.labels)


def _protocol(trials: Mapping[str, Experiment], _: object) -> dict[str, Tree]:
    return {
        **budget(first(trials)),
        "pools": {name: f"{len(trial.source):,} pictures: {trial.source.name}" for name, trial in trials.items()},
        "probe": "linear, fitted on each task's own train part; of darkened pictures on those as they are",
    }
