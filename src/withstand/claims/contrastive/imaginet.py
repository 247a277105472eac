"""The claim of ImagiNet."""

from collections.abc import Mapping
from dataclasses import replace

from withstand.claims.protocol.claim import Claim
from withstand.claims.protocol.measures import Figures, beside, budget, earlier, fixed, test_of, trained, versus
from withstand.core.part import Tree, again
from withstand.core.roles import network_of
from withstand.data.derived.subset import Subset
from withstand.engine.experiment import Experiment
from withstand.engine.optimizers import Adam
from withstand.evaluation.defenses.detection.synthetic import CALIBRATION, CLEAN, MEAN, SyntheticBench
from withstand.methods.contrastive.origin_detector import OriginDetector
from withstand.recipes.contrastive import imaginet

TRAIN, TEST = 2000, 500
"""Pictures of each part."""


def claim() -> Claim[Experiment, Figures]:
    """Compare with cross-entropy: the same network, views, epochs, and the same detector on the frozen encoder."""
    return Claim(
        statement="features learnt by SelfCon make a better detector of synthetic pictures than those of cross-entropy",
        quantity=MEAN,
        names=("SelfCon", "cross-entropy"),
        arms={"SelfCon": _ours, "cross-entropy": _theirs},
        measure=_measure,
        figures=versus(MEAN),
        protocol=_protocol,
        tables=lambda found: {
            CLEAN: beside(found, CLEAN, "share"),
            CALIBRATION: beside(found, CALIBRATION, "ratio"),
        },
    )


def _ours(seed: int) -> Experiment:
    setup = replace(
        imaginet.SETUP, data="cifar10", generate=True, strength=0.5, width=8, epochs=10, batch=100, seed=seed
    )
    # Without normalised heads all rows come out alike, from new weights: nothing would be compared.
    made = imaginet.experiment(setup, batch_norm=True, calibration_epochs=4, hidden=128)
    return replace(_few(made), first=fixed(_few(earlier(made)), Adam(1e-3)))


def _theirs(seed: int) -> Experiment:
    """Return the same two stages, the first one by cross-entropy with a linear layer."""
    made = _ours(seed)
    first = earlier(made)
    plain = OriginDetector(again(first.method.encoder), hidden=0, frozen=False)
    return replace(made, first=replace(first, name="cross-entropy", method=plain))


def _few(trial: Experiment) -> Experiment:
    test = test_of(trial)
    return replace(
        trial,
        source=Subset(trial.source, range(min(TRAIN, len(trial.source)))),
        test=Subset(test, range(min(TEST, len(test)))),
    )


def _measure(trial: Experiment) -> Figures:
    detector = network_of(trained(trial), "classifier")
    return dict(SyntheticBench(samples=TEST).evaluate(detector, trial.source, test=test_of(trial)).numbers)


def _protocol(trials: Mapping[str, Experiment], _: object) -> dict[str, Tree]:
    first = earlier(trials["SelfCon"])
    stand_ins: dict[str, Tree] = {
        "synthetic pictures": "made anew by three simple processes that leave traces, at a strength of 0.5",
        "calibration epochs": trials["SelfCon"].plan.epochs,
    }
    return {**budget(first), **stand_ins}
