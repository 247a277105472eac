"""Contrastive behaviour: what the temperature does, and a hard contrastive loss that makes high ones usable.

paper: Understanding the Behaviour of Contrastive Loss (Wang, Liu; CVPR 2021)
claims: the temperature decides how the push is shared among negatives: low ones spread codes evenly and tear likes
  apart, high ones are tolerant and do not separate; when the hardest negatives alone are pushed, high temperatures, and
  even a loss that pushes all alike, learn about as well as the best temperature does
learns from: unlabelled pictures, photos, images; two views of each
use it when: a temperature is to be chosen and it is to be known what it does; training must not hang on its choice
not for: batches under about 64, whose hardest tenth is a handful of negatives
command: withstand train contrastive-behaviour --data fashion-mnist-small
"""

from collections.abc import Callable
from functools import partial
from statistics import mean

import torch

from withstand.core.finding import Cell, Table
from withstand.core.random import isolated
from withstand.engine.experiment import Experiment
from withstand.evaluation.contrastive_geometry import ContrastiveGeometry
from withstand.methods.contrastive.hard_contrastive import HardContrastive
from withstand.recipes.claim import Claim
from withstand.recipes.pictures import TwoViewSetup, experiment_on_pictures
from withstand.recipes.trial import accuracies, budget, refuse_other_scale, small, trained
from withstand.views.presets import simclr_large, simclr_small

SETUP = TwoViewSetup()
_TEMPERATURES = (0.07, 0.2, 0.5, 1.0)


def experiment(
    setup: TwoViewSetup = SETUP,
    *,
    temperature: float = 0.7,
    alpha: float = 0.1,
    simple: bool = False,
    smallest_crop: float = 0.08,
) -> Experiment:
    """Return the experiment.

    Args:
        setup: data, network, budget.
        temperature: the loss's tau; with few negatives high ones work.
        alpha: share of a picture's negatives that is pushed, the most similar; 1 is SimCLR.
        simple: push them all alike, as an infinite temperature would.
        smallest_crop: least share of the area that a crop of a small picture keeps.
    """
    method = partial(HardContrastive, temperature=temperature, alpha=alpha, simple=simple)
    views = (partial(simclr_small, smallest_crop=smallest_crop), simclr_large)
    return experiment_on_pictures("contrastive-behaviour", method, views, setup)


def claim(*, scale: str = "small", seeds: int = 3) -> Claim:
    """Compare the hard loss with the ordinary one at temperature 1, all else equal, on CIFAR-10.

    What temperatures do is measured beside, for both losses, and for the simple loss on all and on the hardest
    negatives. Uniformity and tolerance are those of the projections of test pictures.
    """
    refuse_other_scale(scale)
    losses: dict[tuple[str, str], Callable[..., Experiment]] = {
        **{("ordinary", f"{tau:g}"): partial(experiment, temperature=tau, alpha=1.0) for tau in _TEMPERATURES},
        **{("hard", f"{tau:g}"): partial(experiment, temperature=tau) for tau in (0.2, 1.0)},
        ("ordinary", "simple"): partial(experiment, simple=True, alpha=1.0),
        ("hard", "simple"): partial(experiment, simple=True),
    }
    found: dict[tuple[str, str], list[dict[str, float]]] = {key: [] for key in losses}
    for seed in range(seeds):
        for key, make in losses.items():
            with isolated(seed, "claim"):
                trial = make(small(SETUP, seed, epochs=6))
            found[key].append(_measured(trial))
    ordinary = [found["ordinary", f"{tau:g}"] for tau in _TEMPERATURES]
    return Claim(
        slug="contrastive-behaviour",
        statement="at temperature 1, pushing the hardest tenth of the negatives alone learns better than pushing all",
        quantity="kNN accuracy",
        system=tuple(one["kNN accuracy"] for one in found["hard", "1"]),
        baseline=tuple(one["kNN accuracy"] for one in found["ordinary", "1"]),
        names=("hard, temperature 1", "ordinary, temperature 1"),
        protocol={
            **budget(trial),
            "probe": "kNN, k 20, T 0.07, cosine",
            "learning rate": "the same for all",
            "uniformity and tolerance": "of the projections of test pictures, eval mode, no augmentation",
        },
        tables={
            "what temperature and choice of negatives do": Table(
                ("negatives", "temperature", "kNN accuracy", "linear accuracy", "uniformity", "tolerance", "alignment"),
                tuple((*key, *(mean(one[name] for one in runs) for name in runs[0])) for key, runs in found.items()),
            ),
            "parts": Table(("what", "holds", "of"), _parts(ordinary, seeds)),
        },
    )


def _measured(trial: Experiment) -> dict[str, float]:
    """Train, and return what the encoder is worth and how its projections of test pictures lie."""
    worth = accuracies(trained(trial), trial)
    assert trial.test is not None
    geometry = ContrastiveGeometry(view=trial.view, samples=1000).evaluate(trial.method, trial.test).numbers
    return {**worth, **{name: geometry[name] for name in ("uniformity", "tolerance", "alignment")}}


def _parts(ordinary: list[list[dict[str, float]]], seeds: int) -> tuple[tuple[Cell, ...], ...]:
    """Return for how many seeds each further statement on the ordinary loss holds, temperatures rising."""

    def rising(name: str, seed: int) -> bool:
        values = torch.tensor([runs[seed][name] for runs in ordinary])
        return bool((values.diff() > 0).all())

    best = [max(range(len(ordinary)), key=lambda place: ordinary[place][seed]["kNN accuracy"]) for seed in range(seeds)]
    return (
        (
            "uniformity is lost with every step of the temperature",
            sum(rising("uniformity", s) for s in range(seeds)),
            seeds,
        ),
        (
            "tolerance grows with every step of the temperature",
            sum(rising("tolerance", s) for s in range(seeds)),
            seeds,
        ),
        ("the best temperature is not the highest", sum(place < len(ordinary) - 1 for place in best), seeds),
    )
