"""The claim of VLM susceptibility."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from withstand.claims.protocol.claim import Claim, Tables
from withstand.claims.protocol.measures import Figures, beside, budget, first, judge_of, on_cifar10, test_of, trained
from withstand.core.part import Tree
from withstand.core.roles import network_of
from withstand.data.captions.source import CaptionedClasses
from withstand.data.load import splits
from withstand.engine.experiment import Experiment
from withstand.evaluation.robustness.vision_language.susceptibility import Susceptibility
from withstand.evaluation.robustness.vision_language.susceptibility_tables import (
    ADAPTIVE,
    BARE,
    EMISSION,
    TOLD,
    UNAWARE,
)
from withstand.models.tokens.picture_to_text import PictureToText
from withstand.recipes.multimodal.vlm_susceptibility import SETUP, experiment

TARGET, SAYING = "a photo of a grey ship", "a photo of a {look} {name}"
PICTURES, STEPS, RADII = 40, 40, ("8/255", "16/255")
EPOCHS = 8
STEERED, NOISE = "steered pictures", "noise of the same size"
HEAD = "linf 16/255"
RATES = (
    f"{EMISSION}, {HEAD}",
    f"{EMISSION} under noise, {HEAD}",
    f"{EMISSION} on clean pictures",
    f"{EMISSION}, unconstrained",
    *(f"{EMISSION}, {guard}, {who}, {HEAD}" for guard in ("JPEG", "bit depth") for who in (UNAWARE, ADAPTIVE)),
    *(f"{TOLD}, {guard}" for guard in (BARE, "JPEG", "bit depth")),
)


def claim() -> Claim[Experiment, Figures]:
    """Compare steered pictures with noise of the same size, on held-out CIFAR-10 pictures and held-out prompts.

    A small captioner learns to say the class of a picture and a word for its color, asked for in eight ways. Each
    picture is steered to one sentence by four of them, within 16/255, and asked one of the other four. Beside it: the
    same within 8/255 and without a radius, and behind JPEG and bit depth, whether the attacker knows of them or not.
    """
    return Claim(
        statement="a picture within 16/255 makes a captioner say a chosen sentence, on prompts that its maker never "
        "asked, far more often than noise of the same size",
        quantity=EMISSION,
        names=(STEERED, NOISE),
        arms={STEERED: trial},
        measure=measure,
        figures=lambda found: (found[STEERED][RATES[0]], found[STEERED][RATES[1]]),
        protocol=_protocol,
        tables=_tables,
    )


def trial(seed: int) -> Experiment:
    """Return a trial of about 300 steps; the captioner is trained on four fifths of 5,000 pictures."""
    train, test = splits("cifar10", seed=0)
    said = CaptionedClasses(train, templates=(SAYING,))
    setup = on_cifar10(SETUP, seed, epochs=EPOCHS, batch=128)
    setup = replace(setup, data=said, learning_rate=2e-3)
    made = experiment(
        setup, target=TARGET, eps=RADII, steps=STEPS, attacked=PICTURES, decoder_width=64, decoder_heads=2
    )
    return replace(made, test=CaptionedClasses(test, said.vocabulary, templates=(SAYING,)))


def measure(trial: Experiment) -> Figures:
    """Return the emission rates of held-out pictures."""
    captioner = network_of(trained(trial), "captioner", PictureToText)
    found = judge_of(trial, Susceptibility).evaluate(captioner, trial.source, test=test_of(trial))
    return found.numbers


def _protocol(arms: Mapping[str, Experiment], found: Sequence[Mapping[str, Figures]]) -> dict[str, Tree]:
    trial = first(arms)
    return {
        **budget(trial),
        "target": TARGET,
        "pictures": PICTURES,
        "steps of each attack": STEPS,
        "both sides": "the same captioner and pictures; noise has every pixel moved by the radius, up or down",
    }


def _tables(found: Sequence[Mapping[str, Figures]]) -> Tables:
    return {name: beside(found, name, "share") for name in RATES}
