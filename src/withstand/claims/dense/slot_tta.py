"""Slot-TTA's claim: adapting to a scene by restoring it tells its objects apart better, on grounds not learnt from."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from withstand.claims.protocol.claim import Budget, Claim, Tables
from withstand.claims.protocol.measures import Figures, beside, budget, test_of, trained
from withstand.core.findings.finding import number
from withstand.core.part import Tree
from withstand.data.derived.synthetic.scattered import Ground, Scattered
from withstand.data.load import splits
from withstand.defenses.restoring import restoring
from withstand.engine.experiment import Experiment
from withstand.evaluation.dense.segmentation.scenes import ARI, ERROR, FOREGROUND, Scenes
from withstand.recipes.dense.slot_tta import SETUP, experiment

AFTER, BEFORE = "adapted", "as trained"
STEPS = 20
"""The most; these or half as many are chosen."""
RATE = 2e-4
TRAINED, CHOOSING, JUDGED, EPOCHS = 3200, 8, 16, 3


def claim() -> Claim[Experiment, Figures]:
    """Compare foreground ARI of digits on colored grounds after adaptation with that before, of the same network.

    It learns from scenes of two or three handwritten digits, each of a color, on black. Steps are chosen on eight
    scenes of training digits on colored grounds; sixteen of test digits are judged. Beside: ARI, the error of
    restoring, and the number of steps.
    """
    return Claim(
        statement="steps that lower the error of restoring one scene tell its objects apart better on unseen grounds",
        quantity=f"{FOREGROUND}, colored ground",
        names=(AFTER, BEFORE),
        arms={AFTER: trial},
        measure=measure,
        figures=lambda found: (found[AFTER][f"{FOREGROUND}, {AFTER}"], found[AFTER][f"{FOREGROUND}, {BEFORE}"]),
        protocol=_protocol,
        tables=_tables,
        unit="ratio",
        budget=Budget(least=3, most=6),
    )


def trial(seed: int) -> Experiment:
    """Return the training on black grounds, with scenes on colored ones to be judged on."""
    setup = replace(SETUP, data=_scenes("train", TRAINED, "black", seed), epochs=EPOCHS, seed=seed)
    return replace(experiment(setup, slots=4), test=_scenes("test", JUDGED, "colored", seed))


def measure(trial: Experiment) -> Figures:
    """Return the scores before and after, with the steps that did best on other scenes."""
    method, seed = trained(trial), trial.plan.seed
    others = _scenes("train", CHOOSING, "colored", seed + 1000)
    curve = Scenes(restoring, STEPS, RATE, CHOOSING).evaluate(method, others).tables["steps of adaptation"]
    scored = {
        number(row): number(score) for row, score in zip(curve.column("steps"), curve.column(FOREGROUND), strict=True)
    }
    steps = int(max((row for row in scored if row), key=lambda row: scored[row]))
    figures = Scenes(restoring, steps, RATE, JUDGED).evaluate(method, test_of(trial)).figures
    found: Figures = {"steps": float(steps)}
    for name in (FOREGROUND, ARI, ERROR):
        for when, called in (("after", AFTER), ("before", BEFORE)):
            found[f"{name}, {called}"] = figures[f"{name} {when} adaptation"].value
    return found


def _scenes(part: str, count: int, ground: Ground, seed: int) -> Scattered:
    train, test = splits("digits")
    return Scattered(train if part == "train" else test, count, ground=ground, seed=seed)


def _protocol(trials: Mapping[str, Experiment], _: object) -> dict[str, Tree]:
    (trial,) = trials.values()
    return {
        **budget(trial),
        "steps to choose from": [STEPS // 2, STEPS],
        "rate": RATE,
        "scenes to choose by": CHOOSING,
        "scenes judged": JUDGED,
    }


def _tables(found: Sequence[Mapping[str, Figures]]) -> Tables:
    names = list(found[0][AFTER])
    units = {name: "count" if name == "steps" else "squared distance" if ERROR in name else "ratio" for name in names}
    return {name: beside(found, name, unit) for name, unit in units.items()}
