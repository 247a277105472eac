"""The claim of HPM."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from withstand.claims.protocol.claim import Claim, Tables
from withstand.claims.protocol.measures import LINEAR, Figures, accuracy, budget, first, test_of, trained
from withstand.core.batch import Batch, unit_range
from withstand.core.errors import DataError
from withstand.core.findings.finding import Cell, Table
from withstand.core.part import Tree
from withstand.core.random import Draws
from withstand.engine.experiment import Experiment
from withstand.evaluation.restoration.restored import ORDER, Restored
from withstand.losses.restoration.reconstruction import masked_patch_error
from withstand.methods.masked.hpm import HPM
from withstand.recipes.masked import mae
from withstand.recipes.masked.hpm import SETUP, experiment
from withstand.views.masks import guided_masks, hidden_count

PICKED, CHANCE = "picked by the teacher", "picked by chance"
OURS, THEIRS = "HPM", "MAE, raw pixels"
UNTRAINED = f"{LINEAR}, untrained"
_AT_ONCE = 256


def claim() -> Claim[Experiment, Figures]:
    """Compare, on held-out CIFAR-10 pictures, patches that the teacher picks with patches picked by chance.

    Half of the hidden patches are picked, as at the end of the run, and the other half drawn; both errors are of one
    trained network, and are told as shares of the error by chance. Beside it: the correlation of told and true
    difficulty, and linear probes of HPM, of MAE on the same budget, and of networks without training.
    """
    return Claim(
        statement="patches that a teacher holds to be hard are restored worse than patches picked by chance",
        quantity="error of hidden patches, over that by chance",
        names=(PICKED, CHANCE),
        arms={OURS: trial, THEIRS: baseline},
        measure=measure,
        figures=lambda found: (found[OURS][PICKED] / found[OURS][CHANCE], 1.0),
        protocol=lambda arms, found: _protocol(arms),
        tables=_tables,
        unit="ratio",
        material=0.02,
    )


def trial(seed: int) -> Experiment:
    """Return a trial of about 1,200 steps, with a ViT of 3 blocks of width 64; raw pixels are asked for."""
    setup = replace(SETUP, data="cifar10", width=64, depth=3, epochs=16, batch=64, learning_rate=6e-3, seed=seed)
    return experiment(setup)


def baseline(seed: int) -> Experiment:
    """Return MAE's trial on the same budget and targets."""
    setup = replace(mae.SETUP, data="cifar10", width=64, depth=3, epochs=16, batch=64, learning_rate=6e-3, seed=seed)
    return mae.experiment(setup, normalise=False)


def measure(trial: Experiment) -> Figures:
    """Return the linear probe's accuracy, trained and not; of HPM, errors of picked patches and by chance too."""
    method = trained(trial)
    found = {LINEAR: accuracy(method.encoder, trial, LINEAR), UNTRAINED: accuracy(trial.method.encoder, trial, LINEAR)}
    if isinstance(method, HPM):
        source = test_of(trial)
        found[ORDER] = Restored(samples=2_000).evaluate(method, source).figures[ORDER].value
        errors: dict[str, list[Tensor]] = {PICKED: [], CHANCE: []}
        for start in range(0, len(source), _AT_ONCE):
            batch = source[range(start, min(start + _AT_ONCE, len(source)))]
            for name, kept in errors.items():
                kept.append(_errors(method, batch, picked=name == PICKED))
        found |= {name: float(torch.cat(kept).double().mean()) for name, kept in errors.items()}
    return found


@torch.no_grad()
def _errors(method: HPM, batch: Batch, *, picked: bool) -> Tensor:
    """Return each hidden patch's error, `(B, M)`, with masks of the end of a run or of its start."""
    x = unit_range(batch.x)
    scores = method.difficulty(x)
    hard = int(hidden_count(scores.shape[1], method.ratio) * method.hardest) if picked else 0
    keep, hidden = guided_masks(Draws(0, batch.index), scores, method.ratio, hard)
    return masked_patch_error(method.restored(x, keep, hidden), method.encoder.patches(x), hidden, method.normalise)


def _protocol(arms: Mapping[str, Experiment]) -> dict[str, Tree]:
    trial = first(arms)
    if not isinstance(trial.method, HPM):
        raise DataError(f"the first arm is HPM, not {type(trial.method).__name__}")
    return {**budget(trial), "patches picked": f"{trial.method.hardest:g} of the hidden ones, the rest drawn"}


def _tables(found: Sequence[Mapping[str, Figures]]) -> Tables:
    rows: list[tuple[Cell, ...]] = [
        (seed, name, figures[LINEAR], figures[UNTRAINED], figures.get(ORDER))
        for seed, arms in enumerate(found)
        for name, figures in arms.items()
    ]
    units = {LINEAR: "share", UNTRAINED: "share", ORDER: "correlation"}
    return {"what is learnt": Table(("seed", "arm", LINEAR, UNTRAINED, ORDER), tuple(rows), units=units)}
