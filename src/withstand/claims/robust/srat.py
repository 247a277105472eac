"""The claim of SRAT."""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from withstand.claims.protocol.claim import Claim
from withstand.claims.protocol.measures import Figures, budget, versus
from withstand.claims.protocol.robust_measures import attacked, both, by_class, on_fashion
from withstand.core.part import Tree
from withstand.engine.experiment import Experiment
from withstand.recipes.robust import pgd_at, srat

RARE = "rare half of the classes"


def claim() -> Claim[Experiment, Figures]:
    """Compare with PGD-AT, half of the classes cut to a fiftieth, by those classes' accuracy under attack."""
    return Claim(
        statement="class weights and separated features give rare classes accuracy under attack",
        quantity="accuracy under PGD-20 at 8/255 of the rare half of the classes",
        names=("SRAT", "PGD-AT"),
        arms={"SRAT": _ours, "PGD-AT": _theirs},
        measure=attacked("8/255", _rare),
        figures=versus(RARE),
        protocol=_protocol,
        tables=lambda found: {"clean and robust accuracy": both(found)},
    )


def _ours(seed: int) -> Experiment:
    return srat.experiment(replace(on_fashion(srat.SETUP, seed, epochs=12, steps=5), ratio=0.02))


def _theirs(seed: int) -> Experiment:
    """Return adversarial training on the same samples."""
    like = pgd_at.experiment(on_fashion(pgd_at.SETUP, seed, epochs=12, steps=5))
    return replace(like, source=_ours(seed).source)


def _rare(holds: Tensor, y: Tensor) -> Figures:
    classes = by_class(holds, y)
    tail = classes[len(classes) // 2 :]
    return {RARE: sum(tail) / len(tail)}


def _protocol(trials: Mapping[str, Experiment], _: object) -> dict[str, Tree]:
    classes: dict[str, Tree] = {"classes": "the second half cut to a fiftieth", "attack": "PGD-20, 500 test samples"}
    return {**budget(trials["SRAT"]), **classes}
