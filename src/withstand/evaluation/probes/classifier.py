"""What the probes with one score a class share: scikit-learn's prediction methods, and the way to an `nn.Linear`.

Sizes: `N` samples, `D` width, `K` classes; scores are float64.
"""

from abc import abstractmethod

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import nn

Array = npt.NDArray[np.float64]


class ScoredClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A scikit-learn classifier that predicts the class with the largest score."""

    classes_: npt.NDArray[np.generic]

    @abstractmethod
    def _scores(self, x: Array) -> Array:
        """Return the score of each class, log-probabilities up to a number a row, `(N, K)`."""

    def scores(self, X: npt.ArrayLike) -> Array:
        """Return the score of each class for features `(N, D)`, `(N, K)`, also for two classes."""
        check_is_fitted(self)
        return self._scores(validate_data(self, X, dtype=np.float64, reset=False))

    def decision_function(self, X: npt.ArrayLike) -> Array:
        """Return the scores `(N, K)`; for two classes the second's lead `(N,)`, as scikit-learn has it."""
        scores = self.scores(X)
        lead: Array = scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores
        return lead

    def predict(self, X: npt.ArrayLike) -> npt.NDArray[np.generic]:
        """Return the class with the largest score, `(N,)`; of equal ones the first."""
        best = self.scores(X).argmax(1)  # before classes_: an unfitted probe says so
        predicted: npt.NDArray[np.generic] = self.classes_[best]
        return predicted

    def predict_log_proba(self, X: npt.ArrayLike) -> Array:
        """Return log-probabilities `(N, K)`."""
        scores = self.scores(X)
        scores -= scores.max(1, keepdims=True)
        log_proba: Array = scores - np.log(np.exp(scores).sum(1, keepdims=True))
        return log_proba

    def predict_proba(self, X: npt.ArrayLike) -> Array:
        """Return probabilities `(N, K)`."""
        return np.exp(self.predict_log_proba(X))


def linear_layer(
    weight: Array,
    bias: Array,
    *,
    shift: Array | float = 0.0,
    scale: Array | float = 1.0,
    dtype: torch.dtype = torch.float32,
) -> nn.Linear:
    """Return `x -> weight @ ((x - shift) * scale) + bias` as one layer, folded in float64."""
    folded = weight * scale
    # Without the usual random start, which would move torch's global generator.
    layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta", dtype=dtype).to_empty(device="cpu")
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(folded))
        layer.bias.copy_(torch.from_numpy(bias - folded @ np.broadcast_to(shift, folded.shape[1:])))
    return layer
