"""Heads fitted on rows: linear, perceptron, residual, Transformer, gradient boosting; for classes and for numbers.

Sizes: `N` rows, `F` features, `C` classes.
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import torch
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.findings.measure import number
from withstand.core.part import Part
from withstand.core.random import isolated, permutation
from withstand.evaluation.features import Features
from withstand.evaluation.probes.linear import fit_linear, grid_for, on_the_edge
from withstand.evaluation.probes.ridge import GRID, fit_ridge
from withstand.models.tables.heads import MLP, FTTransformer, TableResNet

HeadName: TypeAlias = Literal["linear", "mlp", "resnet", "ft-transformer", "boosting"]
Predict: TypeAlias = Callable[[Tensor], Tensor]
"""Features `(N, F)` to classes int64 `(N,)`, or to numbers float32 `(N,)`."""
SETTINGS = tuple((hidden, rate) for hidden in (64, 256) for rate in (1e-3, 3e-3))
"""Widths and rates of which a tuned network has the best."""
LEAST_TUNED = 100
"""Rows that a choice of settings needs: a held-out sixth of fewer tells little."""
LEAST_STEPS, LEAST_PATIENCE = 400, 60
"""Steps that a tuned network may take at least, and without getting better: small tables have few in an epoch."""


@dataclass(frozen=True)
class Answers:
    """What is to be predicted: classes from 0, int64 `(N,)`, or numbers, floating `(N,)`.

    `known` is C where rows may lack the last classes.
    """

    y: Tensor
    known: int = 0

    @property
    def classes(self) -> int:
        """C, or 0 for numbers."""
        return 0 if self.y.is_floating_point() else max(self.known, int(self.y.max()) + 1)

    def score(self, predicted: Tensor) -> float:
        """Return the share of right classes, or the root mean squared error."""
        if self.classes:
            return (predicted == self.y).double().mean().item()
        return (predicted.double() - self.y.double()).square().mean().sqrt().item()


@dataclass(frozen=True)
class FittedHead:
    """A head fitted to rows; called on features `(N, F)`, it gives what `predict` gives.

    Attributes:
        predict: features to classes int64 `(N,)`, or to numbers float32 `(N,)`.
        probabilities: features to those of classes from 0, float64 `(N, C)`; None for numbers.
        edge: that the best penalty is an end of its grid, in words; "" where it is not.
        held_out_loss: least loss of a network on its held-out training rows; None for other heads.
    """

    predict: Predict
    probabilities: Predict | None = None
    edge: str = ""
    held_out_loss: float | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """Return the classes or numbers of features `(N, F)`."""
        return self.predict(x)


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
        early: boosting stops when a held-out tenth of the training rows, drawn by the seed, has not got better in ten
            rounds; otherwise after 100 rounds, and on more than 10,000 rows as scikit-learn does.
    """

    name: HeadName = "linear"
    token: int | None = None
    hidden: int = 128
    epochs: int = 40
    patience: int = 6
    batch: int = 256
    learning_rate: float = 1e-3
    seed: int = 0
    early: bool = False

    def __post_init__(self) -> None:
        if self.name not in get_args(HeadName):
            raise ConfigError(f"there is no head {self.name!r}: {nearest(str(self.name), get_args(HeadName))}")
        if self.name == "ft-transformer" and self.token is None:
            raise ConfigError("the ft-transformer reads tokens: say token=, their width")

    def fit(self, x: Tensor, answers: Answers, *, categories: Sequence[bool] | None = None) -> FittedHead:
        """Return the predictor fitted to training features `(N, F)`.

        Args:
            x: the features; NaN, where missing, for boosting alone.
            answers: what is to be predicted.
            categories: for boosting, which features are places of categories, 0 to 254; None for none.

        Raises:
            DataError: fewer than 4 rows, or not an answer for each.
        """
        if len(x) != len(answers.y) or len(x) < 4:
            raise DataError(f"a head needs at least 4 rows and an answer for each, not {len(x)} and {len(answers.y)}")
        if self.name == "boosting":
            return self._boosting(x, answers, categories)
        if self.name == "linear":
            return _linear(x, answers, self.seed)
        with isolated(self.seed, "head", self.name):
            return self._network(x, answers)

    def varies(self, answers: Answers) -> bool:
        """Whether another seed gives another fit: of networks, and of boosting that holds rows out to stop by."""
        return self.name != "linear" and (self.name != "boosting" or self._early(answers))

    def tuned(self, x: Tensor, answers: Answers) -> "Head":
        """Return the head with the width and rate, of `SETTINGS`, that did best on held-out training rows.

        It may take 400 steps at least, and 60 without getting better. Other heads than the perceptron, and fewer than
        100 rows, leave it as it is.
        """
        if self.name != "mlp" or len(x) < LEAST_TUNED:
            return self
        steps = math.ceil((len(x) - len(x) // 6) / self.batch)
        epochs = max(self.epochs, math.ceil(LEAST_STEPS / steps))
        longer = replace(self, epochs=epochs, patience=max(self.patience, math.ceil(LEAST_PATIENCE / steps)))
        tried = [replace(longer, hidden=hidden, learning_rate=rate) for hidden, rate in SETTINGS]
        losses = [number(head.fit(x, answers).held_out_loss) for head in tried]
        return tried[min(range(len(tried)), key=losses.__getitem__)]

    def _early(self, answers: Answers) -> bool:
        """Whether boosting stops by rows held out: each class needs two, and the tenth one of each."""
        if not self.early or len(answers.y) < LEAST_TUNED:
            return False
        counts = torch.bincount(answers.y) if answers.classes else torch.tensor([len(answers.y)])
        return int(counts[counts > 0].min()) > 1 and len(answers.y) // 10 >= answers.classes

    def _boosting(self, x: Tensor, answers: Answers, categories: Sequence[bool] | None) -> FittedHead:
        kind = HistGradientBoostingClassifier if answers.classes else HistGradientBoostingRegressor
        some = None if categories is None or not any(categories) else list(categories)
        early = True if self._early(answers) else "auto"
        model = kind(random_state=self.seed % 2**31, categorical_features=some, early_stopping=early)
        with threadpool_limits(torch.get_num_threads()):
            model.fit(x.numpy(), answers.y.numpy())

        def probabilities(rows: Tensor) -> Tensor:
            return _of_all(model.predict_proba(rows.numpy()), model.classes_, answers.classes)

        return FittedHead(
            lambda rows: torch.from_numpy(model.predict(rows.numpy())), probabilities if answers.classes else None
        )

    def _network(self, x: Tensor, answers: Answers) -> FittedHead:
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

        def scores(rows: Tensor) -> Tensor:
            with torch.no_grad():
                return torch.cat([network(part) for part in torch.split(scale(rows), 2048)])

        if answers.classes:
            return FittedHead(
                lambda rows: scores(rows).argmax(1), lambda rows: scores(rows).double().softmax(1), held_out_loss=best
            )
        return FittedHead(lambda rows: scores(rows)[:, 0] * spread + center, held_out_loss=best)

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


def _linear(x: Tensor, answers: Answers, seed: int) -> FittedHead:
    if answers.classes:
        grid = grid_for(answers.y, (1e-3, 1e-2, 1e-1))
        probe = fit_linear(Features(x, answers.y, torch.arange(len(x))), C=grid, seed=seed, tol=1e-3)
        return FittedHead(
            probe.predict,
            lambda rows: _of_all(probe.probabilities(rows), probe.model.classes_, answers.classes),
            on_the_edge("C", probe.model.C, grid),
        )
    ridge = fit_ridge(x, answers.y)
    return FittedHead(lambda rows: ridge.predict(rows).float(), edge=on_the_edge("alpha", ridge.alpha, GRID))


def _of_all(probabilities: npt.ArrayLike, known: npt.ArrayLike, classes: int) -> Tensor:
    """Return probabilities of the known classes as those of all, float64 `(N, C)`: 0 of the others."""
    given = torch.as_tensor(np.asarray(probabilities), dtype=torch.float64)
    return given.new_zeros(len(given), classes).index_copy_(1, torch.as_tensor(np.asarray(known)), given)


def _loss(scores: Tensor, aim: Tensor) -> Tensor:
    return mse_loss(scores[:, 0], aim) if aim.is_floating_point() else cross_entropy(scores, aim)
