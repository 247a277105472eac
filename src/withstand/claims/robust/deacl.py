"""The claim of DeACL."""

from withstand.claims.protocol.claim import Claim
from withstand.claims.protocol.measures import Figures
from withstand.claims.protocol.robust_measures import ON_FEATURES, by_attack, on_fashion
from withstand.engine.experiment import Experiment
from withstand.recipes.contrastive import simclr
from withstand.recipes.robust import deacl


def claim() -> Claim[Experiment, Figures]:
    """Compare eight epochs after eight of SimCLR with sixteen of SimCLR, by accuracy under attack on clean features."""

    def plain(seed: int, epochs: int) -> Experiment:
        return simclr.experiment(on_fashion(simclr.SETUP, seed, epochs=epochs), temperature=0.5)

    return by_attack(
        "a student distilled under attack from a plainly pretrained encoder withstands attacks that break plain ones",
        {
            "DeACL": lambda seed: deacl.experiment(on_fashion(deacl.SETUP, seed), teacher=plain(seed, 8)),
            "SimCLR": lambda seed: plain(seed, 16),
        },
        eps="4/255",
        of=ON_FEATURES,
    )
