"""The claim of SiT."""

from dataclasses import replace

from withstand.claims.protocol.claim import Claim
from withstand.claims.protocol.measures import LINEAR, Figures, by_probe
from withstand.engine.experiment import Experiment
from withstand.recipes.masked.sit import SETUP, experiment

BOTH, CONTRAST, RESTORATION = "restoration and contrast", "contrast alone", "restoration alone"


def claim() -> Claim[Experiment, Figures]:
    """Compare both tasks with contrast alone on CIFAR-10, by a linear probe; views are corrupted in all arms alike.

    Restoration alone stands beside.
    """
    return by_probe(
        "restoration beside contrast teaches more than contrast alone",
        {
            BOTH: trial,
            CONTRAST: lambda seed: trial(seed, restore=False),
            RESTORATION: lambda seed: trial(seed, contrast=False),
        },
        quantity=LINEAR,
    )


def trial(seed: int, *, restore: bool = True, contrast: bool = True) -> Experiment:
    """Return a trial of about 1,200 steps, with a ViT of 3 blocks of width 64."""
    setup = replace(SETUP, data="cifar10", width=64, depth=3, epochs=16, batch=64, learning_rate=6e-3, seed=seed)
    return experiment(setup, restore=restore, contrast=contrast)
