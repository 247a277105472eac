"""The claim of transitive invariance."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from withstand.claims.protocol.claim import Claim, Tables
from withstand.claims.protocol.measures import Figures, beside, budget, fixed, share, test_of, trained
from withstand.core.part import Tree
from withstand.data.clips.tracks import LaterPictures
from withstand.data.derived.subset import Subset
from withstand.engine.experiment import Experiment
from withstand.engine.optimizers import Adam
from withstand.evaluation.features import embed
from withstand.evaluation.probes.linear import fit_linear
from withstand.methods.contrastive.transitive_invariance import TransitiveInvariance
from withstand.recipes.contrastive import transitive_invariance

CHANGED = "linear accuracy on changed pictures"
PURITY = "neighbours by looks of the same class"
TRAIN, TEST = 3000, 1000
"""Pictures of each part."""
ARMS = {
    "all": "inter,intra,transitive",
    "inter alone": "inter",
    "intra alone": "intra",
    "inter and intra": "inter,intra",
}


def claim() -> Claim[Experiment, Figures]:
    """Compare with the better of pairs by looks alone and by time alone; probes are fitted to pictures as they are."""
    return Claim(
        statement="pairs by looks, by time, and by both in turn teach more than either of the first two alone",
        quantity=CHANGED,
        names=("all pairs", "the better of inter and intra alone"),
        arms={name: partial(_arm, kinds) for name, kinds in ARMS.items()},
        measure=_measure,
        figures=_figures,
        protocol=_protocol,
        tables=_tables,
    )


def _arm(kinds: str, seed: int) -> Experiment:
    setup = replace(
        transitive_invariance.SETUP,
        data="fashion-mnist-small",
        simulate=True,
        width=8,
        epochs=4,
        batch=100,
        seed=seed,
    )
    made = fixed(transitive_invariance.experiment(setup, looks="pixels", kinds=kinds), Adam(1e-3))
    train, test = Subset(made.source, range(TRAIN)), Subset(test_of(made), range(TEST))
    arguments = {**made.method._init_args, "samples": TRAIN}
    return replace(made, source=train, test=test, method=TransitiveInvariance(**arguments))


def _measure(trial: Experiment) -> Figures:
    method = trained(trial, TransitiveInvariance)
    linear = fit_linear(embed(method.encoder, trial.source))
    changed = embed(method.encoder, LaterPictures(test_of(trial)))
    labels = trial.source.labels
    assert labels is not None
    near = method.neighbour.cpu()
    known = near >= 0
    own = labels[:, None].expand_as(near)[known]
    return {
        CHANGED: share(linear.predict(changed.x) == changed.labels),
        PURITY: share(labels[near[known]] == own),
    }


def _figures(found: Mapping[str, Figures]) -> tuple[float, float]:
    return found["all"][CHANGED], max(found["inter alone"][CHANGED], found["intra alone"][CHANGED])


def _tables(found: Sequence[Mapping[str, Figures]]) -> Tables:
    return {name: beside(found, name, "share") for name in (CHANGED, PURITY)}


def _protocol(trials: Mapping[str, Experiment], _: object) -> dict[str, Tree]:
    tracks: dict[str, Tree] = {
        "tracks": "simulated: a picture, turned, resized, shifted and dimmed, is what it looks like later",
        "probe": "linear, fitted to train pictures as they are, judged on test pictures as they look later",
        "kinds of pairs": dict(ARMS),
    }
    return {**budget(trials["all"]), **tracks}
