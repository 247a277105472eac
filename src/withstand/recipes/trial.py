"""Trials: the small, equal-budget trainings that claims are made of."""

from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from withstand.core.errors import ConfigError, DataError
from withstand.core.part import Tree, describe
from withstand.core.roles import Model
from withstand.engine import checkpoint
from withstand.engine.experiment import Experiment
from withstand.engine.launch import train
from withstand.evaluation.features import embed
from withstand.evaluation.knn import vote
from withstand.evaluation.linear import fit_linear

K = 20
"""Neighbors that vote in a claim's kNN accuracy."""


def refuse_other_scale(scale: str) -> None:
    """Raise ConfigError for a scale that a claim does not know."""
    if scale != "small":
        raise ConfigError(f"scale {scale!r} is unknown: this claim knows 'small'")


def trained(experiment: Experiment) -> Model:
    """Train in a folder that is thrown away, and return the encoder in eval mode."""
    with TemporaryDirectory(prefix="withstand-") as folder:
        run = train(experiment, Path(folder) / "run", quiet=True)
        checkpoint.load(run.checkpoints, experiment.method)
    return experiment.method.encoder.eval()


def budget(experiment: Experiment) -> dict[str, Tree]:
    """Return what a trial was given, for a claim's protocol."""
    return {
        "data": f"{experiment.source.name}, {experiment.source.origin}",
        "train samples": len(experiment.source),
        "epochs": experiment.plan.epochs,
        "batch": experiment.plan.batch,
        "method of the last seed": describe(experiment.method),
        "optimizer": describe(experiment.plan.optimizer),
    }


def accuracies(encoder: Model, experiment: Experiment) -> dict[str, float]:
    """Return test accuracy of the kNN (k 20, T 0.07, cosine) and the linear probe, fitted on the train part."""
    if experiment.test is None or experiment.source.labels is None:
        raise DataError("a claim is measured on labelled data with a test part")
    train_features, test_features = embed(encoder, experiment.source), embed(encoder, experiment.test)
    votes = vote(train_features.x, train_features.labels, test_features.x, k=K, temperature=0.07, metric="cosine")
    linear = fit_linear(train_features).predict(test_features.x)
    return {
        "kNN accuracy": _share(votes.argmax(1), test_features.labels),
        "linear accuracy": _share(linear, test_features.labels),
    }


def _share(predicted: torch.Tensor, labels: torch.Tensor) -> float:
    return (predicted == labels).float().mean().item()
