"""The claim of IBP."""

from dataclasses import replace

from withstand.claims.protocol.claim import Claim
from withstand.claims.protocol.measures import Figures
from withstand.claims.protocol.robust_measures import by_proof
from withstand.engine.experiment import Experiment
from withstand.recipes.robust import ibp, pgd_at


def claim() -> Claim[Experiment, Figures]:
    """Compare with PGD-AT by certified accuracy; network, views and plan are the same, as PGD-AT's own SGD diverged."""
    return by_proof(
        "more of a network's robustness can be proven after training on interval bounds than after training on attacks",
        {"IBP": _ours, "PGD-AT": _theirs},
        eps=ibp.SETUP.eps,
    )


def _ours(seed: int) -> Experiment:
    return ibp.experiment(replace(ibp.SETUP, epochs=12, seed=seed))


def _theirs(seed: int) -> Experiment:
    """Return the experiment with attacks in place of bounds."""
    ours, setup = _ours(seed), ibp.SETUP
    same = replace(pgd_at.SETUP, model=setup.model, depth=setup.depth, width=setup.width, epochs=12, eps=setup.eps)
    return replace(pgd_at.experiment(replace(same, steps=5, seed=seed)), view=ours.view, plan=ours.plan)
