"""The claim of C-GAC."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from withstand.claims.protocol.claim import Claim, Tables
from withstand.claims.protocol.measures import Figures, beside, budget, earlier, first, test_of, trained
from withstand.core.part import Tree
from withstand.engine.experiment import Experiment
from withstand.evaluation.dense.keypoints.judge import AUC, IOU, SCORE, TIED, KeypointJudge
from withstand.methods.dense.c_gac import Teachers
from withstand.recipes.dense.c_gac import SETUP, experiment

OURS, ALONE, GAC = "C-GAC", "source alone", "GAC, no teachers"
JUDGE = KeypointJudge()


def claim() -> Claim[Experiment, Figures]:
    """Compare, on digits on photos, adaptation from clean digits with as many more steps on these alone.

    The truth of both looks are five landmarks and a mask of each clean digit. GAC stands beside; so does the rank
    correlation of confidence and error. The loss of heatmaps is half
    the squared difference, for under the published one networks of this size tell empty maps for longer than a trial
    lasts; pictures without labels weigh 0.5, masks learn from them from the start, and nothing is mirrored, since the
    leftmost point of a mirrored digit is another one.
    """
    return Claim(
        statement="points and masks get better on another look by agreement with two teachers, without its labels",
        quantity=SCORE,
        names=(OURS, ALONE),
        arms={
            OURS: trial,
            ALONE: lambda seed: trial(seed, teachers="none", weight=0.0),
            GAC: lambda seed: trial(seed, teachers="none"),
        },
        measure=measure,
        figures=lambda found: (found[OURS][SCORE], found[ALONE][SCORE]),
        protocol=_protocol,
        tables=_tables,
        unit="ratio",
    )


def trial(seed: int, *, teachers: Teachers = "distilled", weight: float = 0.5) -> Experiment:
    """Return a trial of six passes over clean digits and four of adaptation."""
    setup = replace(SETUP, epochs=4, source_epochs=6, source_rate=2e-3, learning_rate=3e-4, seed=seed)
    return experiment(
        setup,
        width=8,
        teachers=teachers,
        weight=weight,
        distil=weight,
        keypoints=200.0,
        delta=1.0,
        pose_first=0.0,
        mirrored=0.0,
    )


def measure(trial: Experiment) -> Figures:
    """Return the scores of the test pictures, and how confidence goes with error."""
    method = trained(trial)
    found = JUDGE.evaluate(method, test_of(trial)).numbers
    return {name: found[name] for name in (SCORE, AUC, IOU, TIED) if name in found}


def _protocol(arms: Mapping[str, Experiment], found: Sequence[Mapping[str, Figures]]) -> dict[str, Tree]:
    trial = first(arms)
    before = earlier(trial)
    return {
        **budget(trial),
        "labelled pictures": f"{before.source.name}, {len(before.source)}",
        "passes over them before": before.plan.epochs,
        "judged": f"{test_of(trial).name}, {len(test_of(trial))}",
    }


def _tables(found: Sequence[Mapping[str, Figures]]) -> Tables:
    sure = [{name: figures for name, figures in arms.items() if TIED in figures} for arms in found]
    return {
        SCORE: beside(found, SCORE, "ratio"),
        AUC: beside(found, AUC, "ratio"),
        IOU: beside(found, IOU, "ratio"),
        TIED: beside(sure, TIED, "correlation"),
    }
