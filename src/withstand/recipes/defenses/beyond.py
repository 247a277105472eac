"""BEYOND: detect attacked inputs by how they stand to their own augmentations in a self-supervised model.

paper: Be Your Own Neighborhood: Detecting Adversarial Example by the Neighborhood Relations Built on Self-Supervised
  Learning (He, Yang, Chen, Xu, Ho; ICML 2024)
claims: clean inputs agree with their augmented neighbours in a self-supervised model, in label and in representation,
  and attacked ones do not; so neither attacked inputs nor training are needed to detect them, also where the attacker
  knows the detector
learns from: nothing besides the encoder of a trained run and clean inputs for the threshold
use it when: a trained classifier is to be guarded as it is; detection of attacks, rejection, detector
command: withstand defend ENCODER_RUN --classifier CLASSIFIER_RUN
time: 5 minutes on one core for the claim, 3 seeds
reached: reproduced: AUROC under PGD at 0.1 0.896 ± 0.041, 0.709 ± 0.103 with an untrained encoder (10,000 Fashion-MNIST
  pictures, ResNets of width 8); attacks that know the detector leave little of it, and kNN in the classifier's own
  features does better against attacks that do not know it
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import torch
from torch import nn

from withstand.core.batch import unit_range
from withstand.core.devices.device import device_of_network
from withstand.core.errors import ConfigError
from withstand.core.findings.finding import Check, Finding
from withstand.core.roles import Method, Source, View
from withstand.core.victims.victim import Victim
from withstand.defenses.baselines import Mahalanobis, MaxSoftmax, NearestFeatures
from withstand.defenses.detector import Detector
from withstand.defenses.neighbourhood import picture_neighbours
from withstand.defenses.neighbourhood_detector import NeighbourhoodDetector
from withstand.evaluation.defenses.detection.detection import Detection
from withstand.evaluation.features import embed
from withstand.evaluation.probes.linear import fit_linear

REFERENCE = 2000
"""Training samples whose features the baselines in feature space keep."""


def detector(
    method: Method,
    train: Source,
    victim: Victim | nn.Module,
    *,
    view: View | None = None,
    neighbours: int = 50,
    rank: int = 20,
    alpha: float = 0.8,
    combine: Literal["mixed", "counts"] = "mixed",
    label_source: Literal["classifier", "ssl"] = "classifier",
    seed: int = 0,
) -> NeighbourhoodDetector:
    """Return the detector round a classifier, still without a threshold.

    Args:
        method: whose encoder, and projection head if it has one, the neighbours are compared in.
        train: labelled clean samples, for the linear classifier on the encoder's features.
        victim: the classifier that is guarded.
        view: makes one neighbour of each sample; None for the paper's augmentations of pictures.
        neighbours: k.
        rank: K.
        alpha: the labels' weight.
        combine: "mixed" or "counts".
        label_source: "classifier" or "ssl".
        seed: of the augmentations.

    Raises:
        ConfigError: samples that are no pictures, and no view.
        DataError: no labels.
    """
    if view is None:
        if len(train.shape) != 3:
            raise ConfigError(f"samples of shape {train.shape} are no pictures: give a view that makes neighbours")
        view = picture_neighbours((train.shape[1], train.shape[2]))
    head = getattr(method, "head", None)
    found = NeighbourhoodDetector(
        method.encoder.eval(),
        head.eval() if isinstance(head, nn.Module) else None,
        fit_linear(embed(method.encoder, train)).as_linear(),
        victim,
        view=view,
        neighbours=neighbours,
        rank=rank,
        alpha=alpha,
        combine=combine,
        label_source=label_source,
        seed=seed,
    )
    found.gauge.to(device_of_network(method.encoder))
    return found


def baselines(victim: Victim | nn.Module, features: nn.Module | None, train: Source) -> dict[str, Detector]:
    """Return the detectors that need nothing but the classifier: confidence, and nearness to clean features.

    Args:
        victim: the classifier that is guarded.
        features: the classifier without its last layer; None where there is no such part.
        train: some of its samples are the clean features.
    """
    found: dict[str, Detector] = {"max-softmax": MaxSoftmax(victim)}
    if features is not None:
        reference = unit_range(train[list(range(min(REFERENCE, len(train))))].x).to(device_of_network(features))
        found["kNN"] = NearestFeatures(victim, features, reference)
        found["Mahalanobis"] = Mahalanobis(victim, features, reference)
    return found


def defend(
    guard: NeighbourhoodDetector, test: Source, judge: Detection, *, beside: Mapping[str, Detector] | None = None
) -> Finding:
    """Set all thresholds from clean samples, attack, and return the finding "detection".

    Args:
        guard: the detector that is judged, also by attacks that know it.
        test: labelled samples that nothing was learnt from; some calibrate, others are judged.
        judge: attacks and budget.
        beside: other detectors of the same classifier.
    """
    clean = judge.clean(test).to(device_of_network(guard.victim.model))
    for one in (guard, *(beside or {}).values()):
        one.fit(clean, fpr=judge.fpr)
    finding = judge.evaluate(guard, test, name="BEYOND", beside=beside)
    return replace(finding, checks=(*finding.checks, _apart(guard)))


def _apart(guard: NeighbourhoodDetector) -> Check:
    """Check that detector and classifier are two networks: what deceives one network deceives it twice."""
    model = guard.victim.model
    theirs = [weight for weight in model.parameters() if weight.dim() > 1] if isinstance(model, nn.Module) else []
    ours = [weight for weight in guard.gauge.encoder.parameters() if weight.dim() > 1]
    same = any(a.shape == b.shape and torch.equal(a, b) for a in ours for b in theirs)
    name = "the detector's encoder is not the classifier's own"
    return Check(name, not same, "they share weights: one attack deceives both" if same else "they share no weights")
