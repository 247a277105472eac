"""Mixed Barlow Twins: Barlow Twins that also learns from mixed pictures, and so can train longer on few.

paper: Guarding Barlow Twins Against Overfitting with Mixed Samples (Bandara, De Melo, Patel; 2023)
claims: long training makes Barlow Twins overfit, so that accuracy falls after a peak; learning from mixed pictures
  keeps it from that
learns from: unlabelled pictures, photos, images; two views of each
use it when: data are few and training is long
command: withstand train mixed-barlow-twins --data fashion-mnist-small
time: 446 s of a processor for the claim, 3 seeds
reached: undecided: after 40 epochs on 1,000 CIFAR-10 pictures kNN accuracy 0.332 ± 0.019 with mixed pictures,
  0.342 ± 0.026 without (ResNet of width 8)
"""

from dataclasses import replace
from functools import partial
from statistics import mean, stdev

import torch

from withstand.core.finding import Table
from withstand.core.random import Draws, isolated, permutation
from withstand.data.derived.subset import Subset
from withstand.engine.experiment import Experiment
from withstand.engine.optimizers import Adam
from withstand.engine.schedules import Constant
from withstand.losses.agreement.mixing import mixed_barlow_twins_terms
from withstand.methods.non_contrastive.mixed_barlow_twins import MixedBarlowTwins
from withstand.recipes.claim import Claim
from withstand.recipes.setups.pictures import TwoViewSetup, experiment_on_pictures
from withstand.recipes.trial import Quantity, accuracies, budget, refuse_other_scale, small, stages
from withstand.views.presets import simclr_large, simclr_small

SETUP = TwoViewSetup(learning_rate=0.06)

_STAGES = (10, 20, 40)
"""Epochs after which a claim's long training is probed."""


def experiment(
    setup: TwoViewSetup = SETUP,
    *,
    dim: int = 256,
    redundancy_weight: float = 1 / 128,
    mix_weight: float = 4.0,
    scale: float = 0.1,
) -> Experiment:
    """Return the experiment.

    Args:
        setup: data, network, budget.
        dim: width of the projection.
        redundancy_weight: lambda, the weight of redundancy reduction.
        mix_weight: weight of the mixing term, times lambda; 0 is Barlow Twins.
        scale: factor on the loss; the rate's meaning hangs on it.
    """
    method = partial(
        MixedBarlowTwins,
        dim=dim,
        redundancy_weight=redundancy_weight,
        mix_weight=mix_weight,
        scale=scale,
    )
    views = (partial(simclr_small, strength=0.5), partial(simclr_large, strength=0.5))
    return experiment_on_pictures("mixed-barlow-twins", method, views, setup)


def claim(*, scale: str = "small", seeds: int = 3) -> Claim:
    """Compare with Barlow Twins, the same without mixing, at the end of 40 epochs on 1,000 CIFAR-10 pictures.

    Both are probed on the way, with all 5,000 training pictures as neighbours, so that a peak and a fall would show.
    How far mixed test pictures are embedded from where their mixture should be stands beside: what is trained. The
    optimizer is the paper's, Adam, at a constant rate, so that each stage is a run of its own.
    """
    refuse_other_scale(scale)
    knn: tuple[Quantity, ...] = ("kNN accuracy",)
    found: dict[str, list[list[float]]] = {"mixed": [], "Barlow Twins": []}
    errors: list[tuple[int, float, float]] = []
    for seed in range(seeds):
        pair = [_long(seed, mix_weight) for mix_weight in (4.0, 0.0)]
        for (trial, whole), courses in zip(pair, found.values(), strict=True):
            courses.append([accuracies(encoder, whole, knn)["kNN accuracy"] for encoder in stages(trial, _STAGES)])
        errors.append((seed, *(_mixing_error(trial) for trial, _ in pair)))  # type: ignore[arg-type]
    course = [
        (
            epochs,
            *(
                figure(courses[seed][place] for seed in range(seeds))
                for courses in found.values()
                for figure in (mean, stdev)
            ),
        )
        for place, epochs in enumerate(_STAGES)
    ]
    columns = [column for name in found for column in (name, f"{name} ±")]
    ours, theirs = (tuple(course[-1] for course in courses) for courses in found.values())
    trial, _ = pair[0]
    return Claim(
        slug="mixed-barlow-twins",
        statement="after long training on few pictures, learning from mixed ones too has taught more",
        quantity="kNN accuracy",
        system=ours,
        baseline=theirs,
        names=("mixed", "Barlow Twins"),
        protocol={**budget(trial), "epochs": _STAGES[-1], "probe": "kNN, k 20, T 0.07, cosine, 5,000 neighbours"},
        tables={
            "kNN accuracy over epochs": Table(("epochs", *columns), tuple(course), x="epochs"),
            "squared difference of correlations of mixed test pictures": Table(("seed", *found), tuple(errors)),
        },
    )


def _long(seed: int, mix_weight: float) -> tuple[Experiment, Experiment]:
    """Return the experiment on few pictures, and the one on all that its probes take their neighbours from."""
    with isolated(seed, "claim"):
        setup = small(SETUP, seed, epochs=_STAGES[-1], batch=64)
        whole = experiment(setup, dim=64, redundancy_weight=0.05, mix_weight=mix_weight, scale=1.0)
    few = Subset(whole.source, permutation(len(whole.source), seed, "few")[:1000])
    plan = replace(whole.plan, optimizer=Adam(1e-3, weight_decay=1e-6), schedule=Constant())
    return replace(whole, source=few, plan=plan), whole


@torch.no_grad()
def _mixing_error(trial: Experiment) -> float:
    """Return the mixing term on a trial's first 512 test samples, half of each mixed in."""
    assert isinstance(trial.method, MixedBarlowTwins)
    assert trial.test is not None
    batch = trial.test[range(min(512, len(trial.test)))]
    one, two = trial.view(batch, Draws(trial.plan.seed, batch.index)).views
    order = torch.arange(len(one)).roll(1)
    network = torch.nn.Sequential(trial.method.encoder, trial.method.head).eval()
    z1, z2, mixed = (network(x) for x in (one, two, (one + two[order]) / 2))
    return float(mixed_barlow_twins_terms(z1, z2, mixed, order, 0.5).mixing)
