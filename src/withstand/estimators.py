"""scikit-learn's face: encoders without labels as transformers, hardened networks as classifiers.

    make_pipeline(SelfSupervised("t-jepa", epochs=20), LogisticRegression()).fit(X, y)
    GridSearchCV(RobustClassifier(), {"eps": [0.02, 0.05]}).fit(X, y)

Both follow scikit-learn's conventions: plain parameters, `clone`, pipelines, grid search, `check_estimator`.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from withstand.api.front import experiment
from withstand.attacks.inputs.gradient import PGD
from withstand.core.batch import unit_range
from withstand.core.errors import WithstandError
from withstand.core.random import isolated
from withstand.core.roles import Method, encoder_of, network_of
from withstand.core.threat import Ball, parse_eps
from withstand.data.arrays.source import ArraySource
from withstand.data.tables.frame import frame_of, is_frame
from withstand.data.tables.source import TableSource
from withstand.engine import checkpoint
from withstand.engine.experiment import Experiment, Plan
from withstand.engine.launch import train
from withstand.engine.optimizers import AdamW
from withstand.engine.schedules import WarmupCosine
from withstand.methods.robust.adversarial_training import AdversarialTraining
from withstand.models.tables.encoder import TableEncoder
from withstand.models.tables.heads import MLP
from withstand.views.columns import AsIs

Array = npt.NDArray[Any]
_MOST = 4096
"""Rows in one forward pass."""


class SelfSupervised(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Learn an encoder from X alone, and give its features.

    Methods on tables take arrays with rows and columns, and data frames with words and missing values in them; methods
    on pictures take uint8 or float arrays `(N, C, H, W)` or `(N, H, W, C)`.

    Args:
        method: a recipe's name, as `withstand list` shows them.
        epochs: passes over X.
        batch: samples a step, at most all of them.
        options: further options of the recipe, by name.
        random_state: of weights, order, views and masks.

    Attributes:
        encoder_: the trained encoder, in double precision: samples in, features `(B, width)` out.
        n_features_in_: columns seen in fit.
    """

    def __init__(
        self,
        method: str = "t-jepa",
        *,
        epochs: int = 10,
        batch: int = 256,
        options: Mapping[str, object] | None = None,
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.method = method
        self.epochs = epochs
        self.batch = batch
        self.options = options
        self.random_state = random_state

    def fit(self, X: Any, y: object = None) -> Self:
        """Train on X; y is not looked at.

        Raises:
            ValueError: X cannot be learnt from, or a setting is wrong; the message says how to mend it.
        """
        checked = self._checked(X, reset=True)
        seed = _seed(self.random_state)
        try:
            source = TableSource(checked) if _is_rows(checked) else ArraySource(checked)
            given = {"data": source, "epochs": self.epochs, "batch": min(self.batch, len(source)), "seed": seed}
            made = experiment(self.method, {**given, **(self.options or {})})
            method = _trained(replace(made, source=source, test=None, labelled=None, judges=()))
        except WithstandError as error:
            raise ValueError(str(error)) from error
        self.encoder_ = encoder_of(method).double().eval()
        self._n_features_out = self.encoder_.width
        return self

    def transform(self, X: Any) -> Array:
        """Return features, float64 `(N, width)`."""
        check_is_fitted(self)
        checked = self._checked(X, reset=False)
        try:
            return _outputs(self.encoder_, self._samples(checked))
        except WithstandError as error:
            raise ValueError(str(error)) from error

    def _samples(self, checked: Any) -> Tensor:
        if isinstance(self.encoder_, TableEncoder):
            source = TableSource(checked, schema=self.encoder_.schema)
            return source[range(len(source))].x.double()
        source_of_pictures = ArraySource(checked)
        x = source_of_pictures[range(len(source_of_pictures))].x
        return unit_range(x, torch.float64).double()

    def _checked(self, X: Any, *, reset: bool) -> Any:
        """Return columns named by their place, or pictures."""
        if is_frame(X):
            validate_data(self, X, reset=reset, skip_check_array=True)
            return frame_of(X).numbered()
        shape = getattr(X, "shape", ())
        if len(shape) == 4:
            return validate_data(self, X, reset=reset, allow_nd=True, dtype=None)
        least = 2 if reset else 1
        array = validate_data(
            self, X, reset=reset, dtype=np.float64, ensure_all_finite="allow-nan",
            ensure_min_samples=least, ensure_min_features=least,
        )  # fmt: skip
        return frame_of(array).numbered()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


class RobustClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A perceptron on numeric columns, trained against attacks that move each by a share of its range (PGD-AT).

    Args:
        eps: largest change of a column, as a share of its range in training; 0 trains on clean rows. A number, or text
            like "8/255".
        hidden: width of the hidden layers.
        layers: how many.
        epochs: passes over X.
        batch: rows a step, at most all of them.
        steps: gradient steps of the inner attack.
        learning_rate: of AdamW.
        random_state: of weights, order and attacks.

    Attributes:
        network_: columns scaled to [0, 1] in, one score a class out, in double precision: what `withstand.audit`
            takes as a victim, with `scaled(X)` as its inputs.
        classes_: the classes.
        n_features_in_: columns seen in fit.
    """

    def __init__(
        self,
        eps: float | str = 0.05,
        *,
        hidden: int = 64,
        layers: int = 1,
        epochs: int = 40,
        batch: int = 32,
        steps: int = 3,
        learning_rate: float = 1e-2,
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.eps = eps
        self.hidden = hidden
        self.layers = layers
        self.epochs = epochs
        self.batch = batch
        self.steps = steps
        self.learning_rate = learning_rate
        self.random_state = random_state

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> Self:
        """Train on rows and their classes.

        Raises:
            ValueError: X or y cannot be learnt from, or a setting is wrong.
        """
        x, labels = validate_data(self, X, y, dtype=np.float64, ensure_min_samples=2)
        check_classification_targets(labels)
        self.classes_, places = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"Classifier can't train when only one class is present: {self.classes_[0]!r}")
        self.low_, high = x.min(0), x.max(0)
        self.span_ = np.where(high > self.low_, high - self.low_, 1.0)
        seed = _seed(self.random_state)
        try:
            source = ArraySource(self._unit(x), places, layout="rows")
            with isolated(seed, "weights"):
                method = self._method(x.shape[1])
            plan = Plan(
                epochs=self.epochs,
                batch=min(self.batch, len(x)),
                optimizer=AdamW(self.learning_rate, 1e-4),
                schedule=WarmupCosine(),
                precision="float32",
                layout="contiguous",
                seed=seed,
            )
            trained = _trained(Experiment("robust-classifier", source, AsIs(), method, plan))
        except WithstandError as error:
            raise ValueError(str(error)) from error
        self.network_ = network_of(trained, "classifier").double().eval()
        return self

    def scaled(self, X: npt.ArrayLike) -> Array:
        """Return columns in the network's units, float64: 0 at training's least value, 1 at its largest, cut off."""
        check_is_fitted(self)
        return self._unit(validate_data(self, X, dtype=np.float64, reset=False))

    def decision_function(self, X: npt.ArrayLike) -> Array:
        """Return the scores `(N, C)`; for two classes the second's lead `(N,)`."""
        scores = self._scores(X)
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores

    def predict_proba(self, X: npt.ArrayLike) -> Array:
        """Return probabilities `(N, C)`."""
        scores = self._scores(X)
        powers = np.exp(scores - scores.max(1, keepdims=True))
        shares: Array = powers / powers.sum(1, keepdims=True)
        return shares

    def predict(self, X: npt.ArrayLike) -> Array:
        """Return the class with the largest score, `(N,)`."""
        best = self._scores(X).argmax(1)  # before classes_: an unfitted one says so
        chosen: Array = self.classes_[best]
        return chosen

    def _scores(self, X: npt.ArrayLike) -> Array:
        return _outputs(self.network_ if hasattr(self, "network_") else nn.Identity(), torch.from_numpy(self.scaled(X)))

    def _unit(self, x: Array) -> Array:
        unit: Array = np.clip((x - self.low_) / self.span_, 0.0, 1.0)
        return unit

    def _method(self, columns: int) -> AdversarialTraining:
        attack = PGD(Ball("linf", parse_eps(self.eps)), steps=self.steps, keep_best=False)
        encoder = MLP(columns, self.hidden, hidden=self.hidden, layers=self.layers, dropout=0.0)
        return AdversarialTraining(encoder, classes=len(self.classes_), attack=attack)


def _is_rows(checked: object) -> bool:
    return not isinstance(checked, np.ndarray)


def _seed(random_state: int | np.random.RandomState | None) -> int:
    return int(check_random_state(random_state).randint(2**31 - 1))


def _trained(experiment: Experiment) -> Method:
    """Train in a folder that is thrown away."""
    with TemporaryDirectory(prefix="withstand-") as folder:
        run = train(experiment, Path(folder) / "run", quiet=True)
        checkpoint.load(run.checkpoints, experiment.method)
    return experiment.method.eval()


def _outputs(network: nn.Module, x: Tensor) -> Array:
    with torch.no_grad():
        found: Array = torch.cat([network(part) for part in torch.split(x, _MOST)]).numpy()
    return found
