"""The claim of SRGAN."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from withstand.claims.protocol.claim import Claim, Tables
from withstand.claims.protocol.measures import Figures, beside, budget, first, test_of, trained
from withstand.core.part import Tree
from withstand.engine.experiment import Experiment
from withstand.evaluation.restoration.super_resolution import SuperResolved
from withstand.evaluation.restoration.upscaling import PSNR, RATIO, SSIM
from withstand.recipes.restoration.srgan import SETUP, experiment

OURS, STRONG, PLAIN = "SRGAN", "SRGAN, ten times the critic's weight", "SRResNet"
NEAR = "nearness of the gradient energy to the true pictures'"
JUDGE = SuperResolved(samples=20, shown=1)


def claim() -> Claim[Experiment, Figures]:
    """Compare how much detail enlarged pictures have, against a network that lowers the squared error alone.

    Both arms start from one stage by squared error; the second goes on with it for as long as the first learns against
    the critic. The figure is 1 - |1 - r|, r the mean gradient energy of the luma over that of the true pictures: a
    stand-in for the paper's human raters. PSNR, which SRGAN is to lose, and SSIM stand beside. Networks are small and
    steps few, so without normalisation and with the bicubic picture added: without these none is above bicubic so soon.
    """
    return Claim(
        statement="a critic brings the detail of enlarged pictures nearer to that of the true ones, at a lower PSNR",
        quantity=NEAR,
        names=(OURS, PLAIN),
        arms={
            OURS: trial,
            STRONG: lambda seed: trial(seed, adversarial=1e-2),
            PLAIN: lambda seed: trial(seed, adversarial=0.0),
        },
        measure=measure,
        figures=lambda found: (found[OURS][NEAR], found[PLAIN][NEAR]),
        protocol=_protocol,
        tables=_tables,
        unit="ratio",
    )


def trial(seed: int, *, adversarial: float = 1e-3) -> Experiment:
    """Return a trial at scale 2: two passes by squared error, and one more; the critic's weight is the paper's."""
    setup = replace(
        SETUP, scale=2, tile=32, stride=64, width=16, blocks=3, norm="none", global_skip=True, epochs=1,
        learning_rate=3e-4, seed=seed,
    )  # fmt: skip
    return experiment(
        setup,
        first_epochs=2,
        first_rate=1e-3,
        adversarial=adversarial,
        critic_rate=3e-4,
        critic_width=16,
        critic_dense=64,
    )


def measure(trial: Experiment) -> Figures:
    """Return the detail, PSNR and SSIM of the test pictures, enlarged."""
    found = JUDGE.evaluate(trained(trial), test_of(trial)).numbers
    return {NEAR: 1 - abs(1 - found[RATIO]), **found}


def _protocol(arms: Mapping[str, Experiment], found: Sequence[Mapping[str, Figures]]) -> dict[str, Tree]:
    return {**budget(first(arms)), "scale": 2, "content": "squared error, as in the paper's SRGAN-MSE"}


def _tables(found: Sequence[Mapping[str, Figures]]) -> Tables:
    return {name: beside(found, name, unit) for name, unit in ((PSNR, "dB"), (SSIM, "ratio"), (RATIO, "ratio"))}
