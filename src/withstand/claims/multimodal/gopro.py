"""The claim of GOPro."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from withstand.claims.protocol.claim import Budget, Claim, Tables
from withstand.claims.protocol.measures import Figures, beside, budget, first, test_of, trained
from withstand.core.errors import DataError
from withstand.core.part import Tree
from withstand.data.derived.subset import Held
from withstand.data.load import splits
from withstand.engine.experiment import Experiment
from withstand.evaluation.multimodal.prompts import BASE, HARMONIC, NEW, Prompted, transfer
from withstand.methods.multimodal.gopro import Prompts
from withstand.recipes.multimodal import clip_rocket
from withstand.recipes.multimodal.gopro import SETUP, experiment
from withstand.views.pictures.common_corruptions.corruptions import Corruption

GOPRO, COOP = "GOPro", "CoOp"
PLAIN = "zero-shot"
SHARE = 0.6
"""Of CIFAR-10's training pictures, for the network of pictures and texts."""
BASE_CLASSES, SHOTS = 5, 16
NOISE = Corruption("gaussian_noise", 2)


def claim() -> Claim[Experiment, Figures]:
    """Compare prompts that hang on pictures with CoOp's, by the harmonic mean of base and new accuracy on CIFAR-10.

    A small CLIP is trained on 3,000 pictures with captions made of their class and color, anew for each seed and alike
    for both arms. Prompts are learnt on 16 pictures of each of five classes; the other five are new. Beside them: both
    accuracies, the same under noise, and those of the network without prompts learnt.
    """
    return Claim(
        statement="prompts of a picture's content and style, alike over views, lose less on new classes than CoOp's",
        quantity=HARMONIC,
        names=(GOPRO, COOP),
        arms={GOPRO: lambda seed: trial(seed, "gopro"), COOP: lambda seed: trial(seed, "coop")},
        measure=measure,
        figures=lambda found: (found[GOPRO][HARMONIC], found[COOP][HARMONIC]),
        protocol=_protocol,
        tables=_tables,
        budget=Budget(least=3, most=6),
    )


def trial(seed: int, prompts: Prompts) -> Experiment:
    """Return one arm's experiment, with the training of the network before it."""
    train, test = splits("cifar10")
    some = Held(train, "test", fraction=SHARE)  # the set is sorted by class, and this is a share of each
    small = replace(
        clip_rocket.SETUP,
        data=some,
        width=8,
        text_width=64,
        text_layers=2,
        text_heads=2,
        epochs=6,
        batch=250,
        learning_rate=2e-3,
        seed=seed,
    )
    clip = replace(clip_rocket.experiment(small, views=0), test=test)
    base = min(BASE_CLASSES, len(train.classes) - 1)
    setup = replace(
        SETUP, first=clip, data=train, base=base, shots=SHOTS, epochs=25, batch=8, learning_rate=0.02, seed=seed
    )
    return replace(experiment(setup, prompts=prompts, smallest_crop=0.5), test=test)


def measure(trial: Experiment) -> Figures:
    """Return accuracies with learnt prompts and without, on pictures as they are and under noise."""
    method = trained(trial)
    if not isinstance(method, Prompted):
        raise DataError(f"an arm learns prompts, and {type(method).__name__} has none")
    found: Figures = {}
    for name, network in (("", method.classifier()), (f"{PLAIN}, ", method.plain())):
        for noise, corruption in (("", None), (", noise", NOISE)):
            figures = transfer(network, method.base, test_of(trial), corruption).figures
            found |= {f"{name}{figure}{noise}": value for figure, value in figures.items()}
    return found


def _protocol(arms: Mapping[str, Experiment], _: object) -> dict[str, Tree]:
    return {
        **budget(first(arms)),
        "base classes": BASE_CLASSES,
        "pictures of each": SHOTS,
        "noise": f"{NOISE.kind}, severity {NOISE.severity}",
    }


def _tables(found: Sequence[Mapping[str, Figures]]) -> Tables:
    names = [f"{plain}{figure}{noise}" for plain in ("", f"{PLAIN}, ") for figure in (HARMONIC, BASE, NEW)
             for noise in ("", ", noise")]  # fmt: skip
    return {name: beside(found, name, "share") for name in names}
