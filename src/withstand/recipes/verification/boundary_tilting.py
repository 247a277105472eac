"""Boundary tilting: measure how a linear classifier lies against its classes, and what the penalty does to that.

paper: A Boundary Tilting Perspective on the Phenomenon of Adversarial Examples (Tanay, Griffin; 2016)
claims: adversarial examples of a linear classifier are strong when its boundary is tilted against the bisector of the
  class centroids; overfitting tilts it, and L2 regularisation turns it back
learns from: frozen features of anything, or the samples themselves, with labels of two classes
use it when: a linear classifier or probe is easily fooled and it is to be known why, or how strong its penalty must be
command: withstand reproduce boundary-tilting
time: 38 s of processor time, 3 seeds
reached: with C 0.1 the boundary keeps 0.649 of the adversarial distance that is to be had, with C 1e4 0.096 (ahead by
  0.553 ± 0.011; six pairs of digits and fashion-mnist-small, 5 % of the labels flipped)
"""

from collections.abc import Sequence

from torch import nn

from withstand.core.findings.finding import Finding, Measure
from withstand.data.load import splits
from withstand.evaluation.features import embed
from withstand.recipes.setups.vision.two_classes import flipped, two_classes
from withstand.verification.geometry.path import MarginLoss, plane, regularisation_path, subspace, table
from withstand.verification.geometry.tilting import TiltingAnalysis

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0, 1e4)


def regularisation(
    *,
    data: str = "digits",
    first: int = 3,
    second: int = 8,
    encoder: nn.Module | None = None,
    penalties: Sequence[float] = PENALTIES,
    noise: float = 0.0,
    loss: MarginLoss = "hinge",
    seed: int = 0,
) -> Finding:
    """Return the tilt of a linear classifier of two classes at each strength of the penalty.

    Args:
        data: a labelled set's name, folder or file.
        first: one class.
        second: the other.
        encoder: gives the features; None for the samples' own values.
        penalties: values of C, the inverse strength.
        noise: share of training labels that are flipped.
        loss: "hinge" or "softplus".
        seed: of the flipped labels.
    """
    train, test = splits(data)
    subject = nn.Flatten() if encoder is None else encoder
    x, y, test_x, test_y = two_classes(embed(subject, train), embed(subject, test), first, second)
    noisy = flipped(y, noise, seed)
    reference = TiltingAnalysis.fit(x, noisy)
    steps = regularisation_path(x, noisy, test_x, test_y, penalties, loss=loss, reference=reference)
    width = x.shape[1]
    counts = [count for count in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024) if count < width] + [width]
    ends = (("strongest", steps[0]), ("weakest", steps[-1]))
    return Finding(
        name="boundary-tilting",
        figures={
            **{
                f"deviation angle, {penalty} penalty": Measure(step.angle, "degrees", "lower") for penalty, step in ends
            },
            **{
                f"adversarial distance, {penalty} penalty": Measure(step.distance, "distance", "higher")
                for penalty, step in ends
            },
        },
        tables={
            "regularisation path": table(steps),
            "plane of angle and accuracy": plane(steps),
            "principal subspace, weakest penalty": subspace(reference, steps[-1].boundary, counts),
        },
        protocol={
            "data": data,
            "classes": [first, second],
            "features": "the samples' own values" if encoder is None else "the encoder's",
            "training samples": len(x),
            "flipped labels": noise,
            "loss": loss,
            "bias": "free of the penalty; moved to the threshold of fewest training errors where that has fewer",
            "angle": "between the normal and the difference of the class centroids, on the features as they come",
            "seed": seed,
        },
    )
