"""Heads fitted on rows: linear, perceptron, residual, Transformer, gradient boosting; for classes and for numbers.

Sizes: `N` rows, `F` features, `C` classes.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.part import Part
from withstand.core.random import isolated, permutation
from withstand.evaluation.features import Features
from withstand.evaluation.probes.linear import fit_linear
from withstand.evaluation.probes.ridge import fit_ridge
from withstand.models.tables.heads import MLP, FTTransformer, TableResNet

HeadName: TypeAlias = Literal["linear", "mlp", "resnet", "ft-transformer", "boosting"]
Predict: TypeAlias = Callable[[Tensor], Tensor]
"""Features `(N, F)` to classes int64 `(N,)`, or to numbers float32 `(N,)`."""


@dataclass(frozen=True)
class Answers:
    """What is to be predicted: classes from 0, int64 `(N,)`, or numbers, floating `(N,)`."""

    y: Tensor

    @property
    def classes(self) -> int:
        """C, or 0 for numbers."""
        return 0 if self.y.is_floating_point() else int(self.y.max()) + 1

    def score(self, predicted: Tensor) -> float:
        """Return the share of right classes, or the root mean squared error."""
        if self.classes:
            return (predicted == self.y).double().mean().item()
        return (predicted.double() - self.y.double()).square().mean().sqrt().item()


@dataclass(frozen=True)
class Head(Part):
    """How a head is fitted.

    Networks: AdamW on standardized features, stopped when a held-out part of the training rows has not got better for
    `patience` epochs, its best epoch kept. Linear: the linear probe (classes) or ridge regression (numbers), their
    penalty chosen on training rows. Boosting: scikit-learn's histogram gradient boosting, on features as they are.

    Args:
        name: "linear", "mlp", "resnet", "ft-transformer" or "boosting".
        token: the width of a token where features are tokens one after the other; the Transformer needs it.
        hidden: width of the networks.
        epochs: most passes of the networks.
        patience: epochs without getting better after which they stop.
        batch: rows a step.
        learning_rate: of AdamW.
        seed: of weights, order and the held-out part.
    """

    name: HeadName = "linear"
    token: int | None = None
    hidden: int = 128
    epochs: int = 40
    patience: int = 6
    batch: int = 256
    learning_rate: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.name not in get_args(HeadName):
            raise ConfigError(f"there is no head {self.name!r}: {nearest(str(self.name), get_args(HeadName))}")
        if self.name == "ft-transformer" and self.token is None:
            raise ConfigError("the ft-transformer reads tokens: say token=, their width")

    def fit(self, x: Tensor, answers: Answers) -> Predict:
        """Return the predictor fitted to training features `(N, F)`."""
        if len(x) != len(answers.y) or len(x) < 4:
            raise DataError(f"a head needs at least 4 rows and an answer for each, not {len(x)} and {len(answers.y)}")
        if self.name == "boosting":
            return self._boosting(x, answers)
        if self.name == "linear":
            return _linear(x, answers, self.seed)
        with isolated(self.seed, "head", self.name):
            return self._network(x, answers)

    def _boosting(self, x: Tensor, answers: Answers) -> Predict:
        kind = HistGradientBoostingClassifier if answers.classes else HistGradientBoostingRegressor
        model = kind(random_state=self.seed % 2**31)
        with threadpool_limits(torch.get_num_threads()):
            model.fit(x.numpy(), answers.y.numpy())
        return lambda rows: torch.from_numpy(model.predict(rows.numpy()))

    def _network(self, x: Tensor, answers: Answers) -> Predict:
        scale = Scale.of(x)
        x, y = scale(x), answers.y
        center, spread = (0.0, 1.0) if answers.classes else (float(y.mean()), float(y.std().clamp_min(1e-12)))
        aim = y if answers.classes else ((y - center) / spread).float()
        network = self._make(x.shape[1], answers.classes or 1)
        optimizer = torch.optim.AdamW(network.parameters(), self.learning_rate, weight_decay=1e-4)
        order = permutation(len(x), self.seed, "held out")
        held, kept = order[: max(1, len(x) // 6)], order[max(1, len(x) // 6) :]
        best, left, state = float("inf"), self.patience, copy.deepcopy(network.state_dict())
        for epoch in range(self.epochs):
            network.train()
            for rows in torch.split(kept[permutation(len(kept), self.seed, "head", epoch)], self.batch):
                if len(rows) > 1:  # batch normalisation needs two
                    optimizer.zero_grad()
                    torch.autograd.backward(_loss(network(x[rows]), aim[rows]))
                    optimizer.step()
            with torch.no_grad():
                loss = float(_loss(network.eval()(x[held]), aim[held]))
            best, left, state = (
                (loss, self.patience, copy.deepcopy(network.state_dict())) if loss < best else (best, left - 1, state)
            )
            if not left:
                break
        network.load_state_dict(state)
        network.eval()

        def predict(rows: Tensor) -> Tensor:
            with torch.no_grad():
                scores = torch.cat([network(part) for part in torch.split(scale(rows), 2048)])
            return scores.argmax(1) if answers.classes else scores[:, 0] * spread + center

        return predict

    def _make(self, features: int, out: int) -> nn.Module:
        if self.name == "mlp":
            return MLP(features, out, hidden=self.hidden)
        if self.name == "resnet":
            return TableResNet(features, out, hidden=self.hidden)
        assert self.token is not None
        if features % self.token:
            raise ConfigError(f"{features} features are not made of tokens of width {self.token}")
        return FTTransformer(features // self.token, self.token, out)


@dataclass(frozen=True)
class Scale:
    """Standardization by training rows; constant features become 0."""

    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, x: Tensor) -> "Scale":
        """Return the scale of rows `(N, F)`."""
        std, mean = torch.std_mean(x.double(), 0, correction=0)
        std = torch.where(std <= 1e-7 * mean.abs() + 1e-12, torch.inf, std)
        return cls(mean.float(), std.float())

    def __call__(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


def _linear(x: Tensor, answers: Answers, seed: int) -> Predict:
    if answers.classes:
        probe = fit_linear(Features(x, answers.y, torch.arange(len(x))), C=(1e-3, 1e-2, 1e-1), seed=seed, tol=1e-3)
        return probe.predict
    ridge = fit_ridge(x, answers.y)
    return lambda rows: ridge.predict(rows).float()


def _loss(scores: Tensor, aim: Tensor) -> Tensor:
    return mse_loss(scores[:, 0], aim) if aim.is_floating_point() else cross_entropy(scores, aim)
