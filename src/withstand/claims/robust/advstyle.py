"""The claim of AdvStyle."""

from collections.abc import Callable

from withstand.claims.protocol.claim import Claim
from withstand.claims.protocol.measures import Figures, beside, budget, first, test_of, trained, versus
from withstand.claims.protocol.robust_measures import classifier, on_fashion
from withstand.core.roles import Source
from withstand.engine.experiment import Experiment
from withstand.evaluation.robustness.corruptions import MEAN, CorruptionBench
from withstand.recipes.robust.advstyle import SETUP, Kind, experiment

KINDS = ("gaussian_noise", "defocus_blur", "fog", "brightness", "contrast")
"""Shifts that leave shapes where they are."""
CLEAN, SHIFTED = "clean accuracy", "mean accuracy on shifted styles"


def claim() -> Claim[Experiment, Figures]:
    """Compare AdvStyle with DSU by accuracy on styles never seen, beside the same noise unlearnt and plain training."""

    def arm(kind: Kind, weight: float = 1.0) -> Callable[[int], Experiment]:
        return lambda seed: experiment(on_fashion(SETUP, seed), kind=kind, weight=weight)

    def measure(trial: Experiment) -> Figures:
        return shifted(trial, test_of(trial))

    return Claim(
        statement="noise on channel statistics, as large as raises the loss, carries over to styles never seen better "
        "than noise of the batch's own size",
        quantity=SHIFTED,
        names=("AdvStyle", "DSU"),
        arms={
            "AdvStyle": arm("advstyle"),
            "DSU": arm("dsu"),
            "AdvStyle without an adversary": arm("advstyle", 0.0),
            "plain training": arm("none"),
        },
        measure=measure,
        figures=versus(SHIFTED),
        protocol=lambda trials, _: {**budget(first(trials)), "shifts": ", ".join(KINDS) + ", severities 3 and 5"},
        tables=lambda found: {name: beside(found, name, "share") for name in (SHIFTED, CLEAN)},
    )


def shifted(trial: Experiment, test: Source) -> Figures:
    """Train, and return the accuracy on test pictures as they are and in other styles."""
    bench = CorruptionBench(kinds=KINDS, severities=(3, 5), samples=1000)
    found = bench.evaluate(classifier(trained(trial), trial.source), test).figures
    return {CLEAN: found["clean accuracy"].value, SHIFTED: found[MEAN].value}
