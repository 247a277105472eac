"""Mixed Barlow Twins: Barlow Twins that also learns from mixed pictures, and so can train longer on few.

paper: Guarding Barlow Twins Against Overfitting with Mixed Samples (Bandara, De Melo, Patel; 2023)
claims: long training makes Barlow Twins overfit, so that accuracy falls after a peak; learning from mixed pictures
  keeps it from that
learns from: unlabelled pictures, photos, images; two views of each
use it when: data are few and training is long
command: withstand train mixed-barlow-twins --data fashion-mnist-small
"""

from dataclasses import replace
from functools import partial

import torch

from withstand.core.random import Draws, permutation
from withstand.data.subset import Subset
from withstand.engine.experiment import Experiment
from withstand.losses.mixing import mixed_barlow_twins_terms
from withstand.methods.redundancy.mixed_barlow_twins import MixedBarlowTwins
from withstand.recipes.claim import Claim
from withstand.recipes.pictures import TwoViewSetup, experiment_on_pictures
from withstand.recipes.trial import head_to_head, refuse_other_scale, small
from withstand.views.presets import simclr_large, simclr_small

SETUP = TwoViewSetup(learning_rate=0.06)


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
        seed=setup.seed,
    )
    views = (partial(simclr_small, strength=0.5), partial(simclr_large, strength=0.5))
    return experiment_on_pictures("mixed-barlow-twins", method, views, setup)


def claim(*, scale: str = "small", seeds: int = 3) -> Claim:
    """Compare with Barlow Twins, the same without mixing, at 40 epochs on 1,000 CIFAR-10 pictures.

    How far mixed test pictures are embedded from where their mixture should be stands beside: what is trained.
    """
    refuse_other_scale(scale)

    def trial(seed: int, mix_weight: float) -> Experiment:
        setup = small(SETUP, seed, epochs=40, batch=64)
        made = experiment(setup, dim=64, redundancy_weight=0.05, mix_weight=mix_weight)
        few = permutation(len(made.source), seed, "few")[:1000]
        return replace(made, source=Subset(made.source, few))

    return head_to_head(
        "mixed-barlow-twins",
        "learning from mixed pictures keeps long training on few pictures from overfitting",
        lambda seed: trial(seed, 4.0),
        lambda seed: trial(seed, 0.0),
        names=("mixed", "Barlow Twins"),
        seeds=seeds,
        watch=_mixing_error,
        watched="squared difference of correlations of mixed test pictures",
    )


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
