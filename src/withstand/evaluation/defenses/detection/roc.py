"""How well a score tells two kinds of samples apart; higher scores stand for the first kind.

Sizes: `P` samples of the first kind (clean, to be accepted), `Q` of the second (attacked, to be rejected).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score, roc_curve
from torch import Tensor


def auroc(first: Tensor, second: Tensor) -> float:
    """Return the chance that a sample of the first kind scores above one of the second; ties count half.

    NaN where one kind has no samples.

    Args:
        first: scores `(P,)`.
        second: scores `(Q,)`.
    """
    if not len(first) or not len(second):
        return float("nan")
    is_second, suspicion = _ordered(first, second)
    return float(roc_auc_score(is_second, suspicion))


def rejected_at(first: Tensor, second: Tensor, rates: Sequence[float]) -> list[float]:
    """Return which share of the second kind is rejected where at most a share of the first kind is, for each rate.

    Whatever scores below a threshold is rejected. NaN where one kind is missing.
    """
    if not len(first) or not len(second):
        return [float("nan")] * len(rates)
    false_alarms, caught, _ = roc_curve(*_ordered(first, second), drop_intermediate=False)
    places = np.searchsorted(false_alarms, np.asarray(rates) + 1e-9, side="right") - 1
    return [float(caught[place]) for place in places]


def _ordered(first: Tensor, second: Tensor) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.intp]]:
    """Return which samples are of the second kind, and their scores' places from the highest down, ties alike.

    Places, for a score may be infinite.
    """
    scores = np.concatenate([part.detach().double().cpu().numpy() for part in (first, second)])
    places = np.unique(scores, return_inverse=True)[1]
    return np.arange(len(scores)) >= len(first), places.max() - places
