"""The claim on what the temperature does, and on the hard contrastive loss."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import mean

from withstand.claims.protocol.claim import Claim, Tables
from withstand.claims.protocol.measures import (
    KNN,
    PROBES,
    Figures,
    accuracies,
    budget,
    fixed,
    on_cifar10,
    test_of,
    trained,
)
from withstand.core.findings.finding import Cell, Finding, Table
from withstand.core.part import Tree
from withstand.core.random import isolated
from withstand.data.derived.shrunk import Shrunk
from withstand.engine.experiment import Experiment
from withstand.engine.optimizers import Adam
from withstand.evaluation.representation.contrastive_geometry import ContrastiveGeometry
from withstand.recipes.setups.vision.pictures import TwoViewSetup
from withstand.recipes.studies.contrastive_behaviour import SETUP, experiment
from withstand.views.presets import simclr_small

TEMPERATURES = (0.07, 0.3, 1.0)
ALL, HARDEST, SIMPLE = "all", "hardest tenth", "none: simple loss"
ARMS: dict[str, tuple[str, str]] = {
    **{f"{ALL}, temperature {tau:g}": (ALL, f"{tau:g}") for tau in TEMPERATURES},
    f"{HARDEST}, temperature 1": (HARDEST, "1"),
    f"{ALL}, simple loss": (ALL, SIMPLE),
    f"{HARDEST}, simple loss": (HARDEST, SIMPLE),
}
"""Arms by name: which negatives are pushed, and at which temperature."""


def claim() -> Claim[Experiment, Figures]:
    """Compare the hard loss with the ordinary one at temperature 1, all else equal, on CIFAR-10.

    What temperatures do is measured beside, and the simple loss on all and on the hardest negatives. Uniformity and
    tolerance are those of the projections of test pictures.
    """
    return Claim(
        statement="at temperature 1, pushing the hardest tenth of the negatives alone learns better than pushing all",
        quantity=KNN,
        names=(HARDEST, ALL),
        arms={name: _arm(*pushed) for name, pushed in ARMS.items()},
        measure=measured,
        figures=lambda found: (found[f"{HARDEST}, temperature 1"][KNN], found[f"{ALL}, temperature 1"][KNN]),
        protocol=_protocol,
        tables=_tables,
    )


def temperatures(
    setup: TwoViewSetup = SETUP,
    *,
    values: Sequence[float] = TEMPERATURES,
    alpha: float = 1.0,
) -> Finding:
    """Train at each temperature, and return what the encoder is worth and how its codes lie, as curves.

    Args:
        setup: data with labels and a test part, network, budget.
        values: temperatures, all above 0.
        alpha: share of a picture's negatives that is pushed; 1 is the ordinary loss.
    """
    rows: list[tuple[Cell, ...]] = []
    for tau in values:
        with isolated(setup.seed, "claim"):
            trial = experiment(setup, temperature=tau, alpha=alpha)
        found = measured(trial)
        rows.append((tau, *found.values()))
    return Finding(
        name="temperatures",
        tables={"temperatures": Table(("temperature", *found), tuple(rows), x="temperature", units=_units(found))},
        protocol={**budget(trial), "alpha": alpha},
    )


def measured(trial: Experiment) -> Figures:
    """Train, and return what the encoder is worth and how its projections of test pictures lie.

    Raises:
        DataError: no labels, or no test part.
    """
    method = trained(trial)
    worth = accuracies(method.encoder, trial)
    geometry = ContrastiveGeometry(view=trial.view, samples=1000).evaluate(method, test_of(trial)).numbers
    lie = {name: geometry[name] for name in ("uniformity", "tolerance", "alignment")}
    return {**{str(name): value for name, value in worth.items()}, **lie}


def _arm(pushed: str, temperature: str) -> Callable[[int], Experiment]:
    """Return what makes a trial on pictures of half the side, by Adam."""
    alpha = 1.0 if pushed == ALL else 0.1

    def make(seed: int) -> Experiment:
        setup = on_cifar10(SETUP, seed, epochs=6, batch=128)
        if temperature == SIMPLE:
            trial = experiment(setup, simple=True, alpha=alpha)
        else:
            trial = experiment(setup, temperature=float(temperature), alpha=alpha)
        view = simclr_small(16, smallest_crop=0.2)
        return fixed(replace(trial, source=Shrunk(trial.source), test=Shrunk(test_of(trial)), view=view), Adam())

    return make


def _protocol(trials: Mapping[str, Experiment], _: object) -> dict[str, Tree]:
    return {
        **budget(trials[f"{HARDEST}, simple loss"]),
        "probe": PROBES[KNN],
        "learning rate": "the same for all; Adam, whose steps do not grow with 1 / temperature as gradients do",
        "uniformity, tolerance, alignment": "of the projections of 1,000 test pictures, eval mode",
    }


def _tables(found: Sequence[Mapping[str, Figures]]) -> Tables:
    kinds = tuple(found[0][next(iter(ARMS))])
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (*pushed, *(mean(arms[name][kind] for arms in found) for kind in kinds)) for name, pushed in ARMS.items()
    )
    return {
        "what temperature and choice of negatives do, means over seeds": Table(
            ("negatives pushed", "temperature", *kinds), rows, units=_units(kinds)
        ),
        "parts": Table(("what", "seeds that show it", "of"), _parts(found)),
    }


def _units(figures: Iterable[str]) -> dict[str, str]:
    """Return the units of what `measured` gives."""
    lie = {"uniformity": "nats", "tolerance": "cosine", "alignment": "squared distance"}
    return {name: lie.get(name, "share") for name in figures}


def _parts(found: Sequence[Mapping[str, Figures]]) -> tuple[tuple[Cell, ...], ...]:
    """Return how many seeds show each further statement."""
    seeds = len(found)
    ordinary = [[arms[f"{ALL}, temperature {tau:g}"] for arms in found] for tau in TEMPERATURES]

    def rises(name: str) -> int:
        """Return for how many seeds a figure rises with every step of the temperature."""
        return sum(all(low[k][name] < high[k][name] for low, high in pairwise(ordinary)) for k in range(seeds))

    best = sum(max(runs[k][KNN] for runs in ordinary[:-1]) > ordinary[-1][k][KNN] for k in range(seeds))
    hard = sum(arms[f"{HARDEST}, simple loss"][KNN] > arms[f"{ALL}, simple loss"][KNN] for arms in found)
    return (
        ("codes are less even with every step of the temperature (ordinary loss)", rises("uniformity"), seeds),
        ("codes are more tolerant with every step of the temperature (ordinary loss)", rises("tolerance"), seeds),
        ("the best temperature is not the highest (ordinary loss)", best, seeds),
        ("the simple loss learns better on the hardest tenth than on all", hard, seeds),
    )
