"""The claim of DONE."""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from withstand.claims.protocol.claim import Claim
from withstand.claims.protocol.measures import Figures, budget, versus
from withstand.claims.protocol.robust_measures import attacked, both, by_class, on_fashion
from withstand.core.part import Tree
from withstand.engine.experiment import Experiment
from withstand.recipes.robust import done, pgd_at

WEAKEST = "three weakest classes"


def claim() -> Claim[Experiment, Figures]:
    """Compare with PGD-AT, half of the classes cut to a tenth, by the three weakest classes' accuracy under attack."""
    return Claim(
        statement="the worst-case weights lift the classes that are weakest under attack",
        quantity="mean accuracy under PGD-20 at 8/255 of the three weakest classes",
        names=("DONE", "PGD-AT"),
        arms={"DONE": _ours, "PGD-AT": _theirs},
        measure=attacked("8/255", _weakest),
        figures=versus(WEAKEST),
        protocol=_protocol,
        tables=lambda found: {"clean and robust accuracy": both(found)},
    )


def _ours(seed: int) -> Experiment:
    return done.experiment(replace(on_fashion(done.SETUP, seed, epochs=10, steps=5), ratio=0.1))


def _theirs(seed: int) -> Experiment:
    """Return adversarial training on the same samples."""
    like = pgd_at.experiment(on_fashion(pgd_at.SETUP, seed, epochs=10, steps=5))
    return replace(like, source=_ours(seed).source)


def _weakest(holds: Tensor, y: Tensor) -> Figures:
    return {WEAKEST: sum(sorted(by_class(holds, y))[:3]) / 3}


def _protocol(trials: Mapping[str, Experiment], _: object) -> dict[str, Tree]:
    classes: dict[str, Tree] = {"classes": "the second half cut to a tenth", "attack": "PGD-20, 500 test samples"}
    return {**budget(trials["DONE"]), **classes}
