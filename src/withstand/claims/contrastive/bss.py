"""The claim of BSS."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from withstand.claims.protocol.claim import Claim
from withstand.claims.protocol.measures import (
    Figures,
    Scale,
    beside,
    budget,
    first,
    on_cifar10,
    share,
    test_of,
    trained,
    versus,
)
from withstand.engine.experiment import Experiment
from withstand.evaluation.features import embed
from withstand.evaluation.probes.linear import fit_linear
from withstand.recipes.contrastive import simclr
from withstand.recipes.contrastive.bss import SETUP, experiment

STYLES = (
    ((1.3, 1.0, 0.6), 0.0, 0.3),
    ((0.6, 0.9, 1.3), 0.0, -0.3),
    ((0.8, 1.3, 0.8), 0.3, 0.0),
    ((1.2, 0.7, 1.2), -0.3, 0.0),
)
"""Looks that no training picture has: factors of red, green and blue, and how much lighter it gets to the right and
downwards."""
CLEAN, RESTYLED = "linear accuracy", "linear accuracy on restyled pictures"


class Restyled(nn.Module):
    """An encoder that meets its pictures in another look.

    Args:
        encoder: takes pictures in [0, 1].
        gains: factors of the three channels.
        right: how much lighter the right edge is than the left one.
        down: how much lighter the lower edge is.
    """

    def __init__(self, encoder: nn.Module, gains: tuple[float, ...], right: float, down: float) -> None:
        super().__init__()
        self.encoder, self.gains, self.right, self.down = encoder, gains, right, down

    def forward(self, x: Tensor) -> Tensor:
        """Return features `(B, width)` of pictures `(B, 3, H, W)`."""
        height, width = x.shape[-2:]
        rows, columns = (torch.linspace(-0.5, 0.5, side, device=x.device) for side in (height, width))
        light = self.down * rows[:, None] + self.right * columns
        features: Tensor = self.encoder((x * x.new_tensor(self.gains).view(3, 1, 1) + light).clamp(0, 1))
        return features


def claim(scale: Scale = "small") -> Claim[Experiment, Figures]:
    """Compare BSS round SimCLR with SimCLR alone on CIFAR-10, both without color jitter, on pictures in other looks."""

    def ours(seed: int) -> Experiment:
        return experiment(on_cifar10(SETUP, seed, scale, epochs=10))

    def theirs(seed: int) -> Experiment:
        plain = simclr.experiment(on_cifar10(simclr.SETUP, seed, scale, epochs=10))
        return replace(plain, view=ours(seed).view)

    def measure(trial: Experiment) -> Figures:
        encoder = trained(trial).encoder
        test = test_of(trial)
        probe = fit_linear(embed(encoder, trial.source))
        looks = [Restyled(encoder, *style).eval() for style in STYLES]

        def accuracy(subject: nn.Module) -> float:
            features = embed(subject, test)
            return share(probe.predict(features.x) == features.labels)

        return {CLEAN: accuracy(encoder), RESTYLED: sum(map(accuracy, looks)) / len(looks)}

    return Claim(
        statement="giving all pictures of a view one style makes contrastive features carry over to looks never seen",
        quantity=RESTYLED,
        names=("BSS", "SimCLR"),
        arms={"BSS": ours, "SimCLR": theirs},
        measure=measure,
        figures=versus(RESTYLED),
        protocol=lambda trials, _: {**budget(first(trials)), "probe": "linear, fitted on pictures as they are"},
        tables=lambda found: {CLEAN: beside(found, CLEAN, "share")},
    )
