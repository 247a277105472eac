"""The claim of TecoGAN."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from withstand.claims.protocol.claim import Claim, Tables
from withstand.claims.protocol.measures import Figures, beside, budget, first, test_of, trained_stages
from withstand.core.part import Tree
from withstand.engine.experiment import Experiment
from withstand.evaluation.restoration.clips import DRIFT, ClipsRestored
from withstand.evaluation.restoration.upscaling import BICUBIC, PSNR
from withstand.recipes.restoration.tecogan import SETUP, experiment

OURS, PLAIN = "TecoGAN", "without ping-pong"
STEADY, GAIN = "steadiness", "PSNR over bicubic"
JUDGE = ClipsRestored(samples=2, frames=12, still=40, shown=1)
_LEAST = 1e-7
"""A mean difference below which single precision decides."""


def claim() -> Claim[Experiment, Figures]:
    """Compare how far frames drift that are made of one small frame again and again, with and without ping-pong.

    Both arms start from a stage by squared error and learn for as long from the same clips, which run forward and back,
    against a critic; in the second the difference of both passes weighs nothing. Steadiness is -20 log10 of the mean
    difference of frames 40 and 5 of a still clip, values from 0 to 1: an error that grows over time lowers it. Beside
    it stand the drift itself and the PSNR over that of bicubic enlargement, of test clips.
    """
    return Claim(
        statement="frames that a loss on clips running forward and back has taught drift less over time",
        quantity=STEADY,
        names=(OURS, PLAIN),
        arms={OURS: trial, PLAIN: lambda seed: trial(seed, ping_pong=0.0)},
        measure=measure,
        figures=lambda found: (found[OURS][STEADY], found[PLAIN][STEADY]),
        protocol=_protocol,
        tables=_tables,
        unit="dB",
        material=0.5,
    )


def trial(seed: int, *, ping_pong: float = 0.5) -> Experiment:
    """Return a trial on stretches of five frames: some passes by squared error, and more against the critic."""
    setup = replace(
        SETUP, frames=5, step=43, crop=32, stride=40, width=16, blocks=3, flow_width=8, epochs=1, batch=4,
        learning_rate=3e-4, seed=seed,
    )  # fmt: skip
    return experiment(setup, first_epochs=3, first_rate=1e-3, ping_pong=ping_pong, critic_rate=3e-4, critic_width=16)


def measure(trial: Experiment) -> Figures:
    """Return steadiness, drift and PSNR over bicubic of the test clips, enlarged."""
    found = JUDGE.evaluate(trained_stages(trial)[-1], test_of(trial))
    ways = {str(row[0]): dict(zip(found.tables["ways"].columns, row, strict=True)) for row in found.tables["ways"].rows}
    plain = ways[BICUBIC][PSNR]
    drift = found.numbers[DRIFT]
    gain = found.numbers[PSNR] - float(plain) if isinstance(plain, float) else math.nan
    return {STEADY: -20 * math.log10(max(drift, _LEAST)), DRIFT: drift, GAIN: gain}


def _protocol(arms: Mapping[str, Experiment], found: Sequence[Mapping[str, Figures]]) -> dict[str, Tree]:
    return {**budget(first(arms)), "scale": 4, "content": "squared error, without a perceptual term"}


def _tables(found: Sequence[Mapping[str, Figures]]) -> Tables:
    return {name: beside(found, name, unit) for name, unit in ((DRIFT, "distance"), (GAIN, "dB"))}
