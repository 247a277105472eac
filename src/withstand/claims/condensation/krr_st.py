"""The claim of KRR-ST."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from withstand.claims.protocol.claim import Claim, Tables
from withstand.claims.protocol.measures import Figures, beside, budget, test_of, trained
from withstand.core.part import Tree
from withstand.engine.experiment import Experiment
from withstand.evaluation.representation.condensed import BEYOND, OURS, THEIRS, Condensed
from withstand.recipes.condensation.krr_st import SETUP, experiment
from withstand.recipes.non_contrastive import barlow_twins

METHOD, REAL = "condensed set", "as many real pictures"
JUDGE = Condensed(steps=200, networks=2, samples=1000, shown=1)


def claim() -> Claim[Experiment, Figures]:
    """Compare new networks that are trained on 50 condensed pictures with such on 50 real ones, on Fashion-MNIST.

    Both sets have the teacher's features as targets, those of the condensed set learnt further. The figure is the
    variance of the teacher's features that is explained on test pictures: 1 less the squared error over the variance.
    """
    return Claim(
        statement="a network learns more of a teacher from learnt pictures and features than from as many real ones",
        quantity="explained variance of the teacher's features",
        names=(METHOD, REAL),
        arms={METHOD: trial},
        measure=measure,
        figures=lambda found: (found[METHOD][METHOD], found[METHOD][REAL]),
        protocol=_protocol,
        tables=_tables,
        unit="ratio",
        material=0.02,
    )


def trial(seed: int) -> Experiment:
    """Return a trial of about 400 steps, after Barlow Twins of five epochs with a ResNet-10 of width 8."""
    teacher = barlow_twins.experiment(
        replace(barlow_twins.SETUP, data="fashion-mnist-small", width=8, epochs=5, seed=seed)
    )
    setup = replace(SETUP, data="fashion-mnist-small", epochs=20, seed=seed)
    return experiment(setup, teacher=teacher, count=50, pool=3, oldest=100)


def measure(trial: Experiment) -> Figures:
    """Return the explained variance after either set, and the share of pixels that no picture could hold."""
    found = {name: one.value for name, one in JUDGE.evaluate(trained(trial), test_of(trial)).figures.items()}
    spread = found["error of the mean"]
    return {METHOD: 1 - found[OURS] / spread, REAL: 1 - found[THEIRS] / spread, BEYOND: found[BEYOND]}


def _protocol(arms: Mapping[str, Experiment], found: Sequence[Mapping[str, Figures]]) -> dict[str, Tree]:
    trial = arms[METHOD]
    return {
        **budget(trial),
        "teacher": budget(trial.first) if isinstance(trial.first, Experiment) else str(trial.first),
        "steps of each new network": JUDGE.steps,
        "new networks": JUDGE.networks,
        "test samples": JUDGE.samples,
    }


def _tables(found: Sequence[Mapping[str, Figures]]) -> Tables:
    return {BEYOND: beside(found, BEYOND, "share")}
