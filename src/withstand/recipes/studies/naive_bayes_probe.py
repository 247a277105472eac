"""Naive Bayes probe: judge frozen features by Gaussian naive Bayes beside logistic regression.

paper: Revisiting Discriminative vs. Generative Classifiers: Theory and Implications (2023)
claims: naive Bayes comes near its own best error with O(log n) labelled samples in n dimensions, logistic regression
  with O(n); so naive Bayes wins with few labels, and logistic regression, whose best error is lower, with many
learns from: frozen features of anything, with a few labels
use it when: an encoder is to be judged, or used, with few labels per class
command: withstand reproduce naive-bayes-probe
time: 84 s of processor time, 3 seeds
reached: with 50 labels naive Bayes has 0.867 of its best accuracy and logistic regression 0.792 of its own (ahead by
  0.074 ± 0.015, digits and fashion-mnist-small pixels); simulation, 20 and 40 samples: accuracy 0.990 against 0.446;
  samples to reach 0.95 in 50, 100, 200, 400 dimensions: 20, 14, 14, 14 against 320, 453, 905, 2560; with 20 and 30
  labels on digits both have 0.66, and with 1,000 logistic regression leads by 0.077
"""

from collections.abc import Sequence

from torch import nn

from withstand.core.findings.finding import Finding
from withstand.data.load import splits
from withstand.evaluation.features import embed
from withstand.evaluation.probes.learning_curve import probe_curve

SIZES = (20, 30, 50, 100, 200, 500, 1000, 2000, 5000, 10000)


def learning_curve(
    *,
    data: str = "digits",
    encoder: nn.Module | None = None,
    sizes: Sequence[int] = SIZES,
    repeats: int = 5,
    seed: int = 0,
) -> Finding:
    """Return both probes' accuracy against the number of labelled samples on a source's frozen features.

    Args:
        data: a labelled set's name, folder or file.
        encoder: gives the features; None for the samples' own values.
        sizes: numbers of labelled samples.
        repeats: draws of each.
        seed: of the draws.
    """
    subject = nn.Flatten() if encoder is None else encoder
    pool, judged = (embed(subject, source) for source in splits(data))
    return probe_curve(
        pool.x.numpy(),
        pool.labels.numpy(),
        judged.x.numpy(),
        judged.labels.numpy(),
        sizes=sizes,
        repeats=repeats,
        seed=seed,
    )
