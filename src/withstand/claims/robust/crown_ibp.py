"""The claim of CROWN-IBP."""

from dataclasses import replace

from withstand.claims.protocol.claim import Claim
from withstand.claims.protocol.measures import Figures
from withstand.claims.protocol.robust_measures import by_proof
from withstand.engine.experiment import Experiment
from withstand.recipes.robust import crown_ibp, ibp


def claim() -> Claim[Experiment, Figures]:
    """Compare with IBP by certified accuracy."""
    return by_proof(
        "bounds that are tight while the radius grows lead to more certified accuracy than intervals all along",
        {
            "CROWN-IBP": lambda seed: crown_ibp.experiment(replace(crown_ibp.SETUP, epochs=12, seed=seed)),
            "IBP": lambda seed: ibp.experiment(replace(ibp.SETUP, epochs=12, seed=seed)),
        },
        eps=crown_ibp.SETUP.eps,
    )
