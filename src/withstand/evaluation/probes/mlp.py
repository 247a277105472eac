"""A small network of three layers on features, as encoders are judged too where a linear layer would be too little."""

import warnings
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

from withstand.core.errors import DataError
from withstand.core.findings.finding import Check
from withstand.evaluation.features import Features
from withstand.evaluation.probes.probe import AccuracyProbe, Fitted


@dataclass(frozen=True)
class MLP(AccuracyProbe):
    """Two hidden layers as wide as the features, on features standardized by train's statistics; Adam, scikit-learn.

    Args:
        rate: Adam's first step size.
        decay: the L2 penalty.
        epochs: passes over train, at most; it ends when the loss has not fallen by 1e-4 in ten of them.
        seed: of weights and order.
    """

    rate: float = 5e-3
    decay: float = 8e-4
    epochs: int = 50
    seed: int = 0

    name = "mlp"

    @classmethod
    def example(cls) -> Self:
        return cls(epochs=5)

    def fit(self, train: Features) -> Fitted:
        if bool((train.labels == train.labels[0]).all()):
            raise DataError("a probe by a network needs labels of at least two classes in train")
        scaler = StandardScaler().fit(train.x.numpy())
        model = MLPClassifier(
            (train.width, train.width),
            alpha=self.decay,
            learning_rate_init=self.rate,
            max_iter=self.epochs,
            random_state=self.seed,
        )
        order = train.index.argsort(stable=True)  # the order of samples shall change nothing
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(scaler.transform(train.x[order].numpy()), train.labels[order].numpy())
        return Fitted(
            lambda x: torch.from_numpy(np.asarray(model.predict(scaler.transform(x.numpy())))),
            {"epochs": int(model.n_iter_)},
            (Check("the fit's loss is finite", bool(np.isfinite(model.loss_)), f"{model.loss_:.3g} at the end"),),
        )
