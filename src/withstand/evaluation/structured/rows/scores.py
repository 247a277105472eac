"""The scores that people judge predictions of a table by, computed by scikit-learn.

Sizes: `N` judged rows, `C` classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from sklearn.metrics import (
    average_precision_score,
    f1_score,
    log_loss,
    mean_absolute_error,
    r2_score,
    recall_score,
    roc_auc_score,
    root_mean_squared_error,
)
from torch import Tensor

BINS = 15
"""Bins of the expected calibration error."""


@dataclass(frozen=True)
class Predicted:
    """What a head says of rows.

    Attributes:
        answer: the class that it names, int64 `(N,)`, or the number, floating `(N,)`.
        probabilities: of each class, float64 `(N, C)`; None for numbers.
    """

    answer: Tensor
    probabilities: Tensor | None = None


@dataclass(frozen=True)
class Scored:
    """Scores by name, and why others are not defined.

    Attributes:
        values: each score that is defined.
        undefined: (score, why not) of the others.
    """

    values: dict[str, float]
    undefined: dict[str, str]


def unit_of(score: str) -> tuple[str, Literal["higher", "lower"]]:
    """Return a score's unit, as a `Measure` has it, and which way is better."""
    if score in ("RMSE", "MAE"):
        return "the target's", "lower"
    if score == "log loss":
        return "nats", "lower"
    if score == "expected calibration error":
        return "share", "lower"
    return ("share" if "accuracy" in score else "ratio"), "higher"


def class_scores(truth: Tensor, predicted: Predicted, classes: Sequence[str], *, ranked: bool = True) -> Scored:
    """Return the scores of named classes.

    Two classes: AUROC, average precision and F1 are the second one's, and F1 is called by its name. More: their plain
    means over classes, each against all others, of classes that occur among the judged rows (AUROC, average precision)
    or among these and the predicted ones (F1).

    Args:
        truth: classes, int64 `(N,)`.
        predicted: the head's classes, and its probabilities.
        classes: the names of all C.
        ranked: whether probabilities of different rows can be compared; not where they come from different fits, and
            AUROC and average precision are left out.
    """
    assert predicted.probabilities is not None
    y, said = truth.numpy(), predicted.answer.numpy()
    p = predicted.probabilities.double().numpy()
    two = len(classes) == 2
    f1 = f"F1 of {classes[1]}" if two else "macro F1"
    auroc, precision = ("AUROC", "average precision") if two else ("macro AUROC", "macro average precision")
    found: dict[str, float] = {"accuracy": float((y == said).mean())}
    lacking: dict[str, str] = {}
    judged = np.unique(y)
    alone = f"all judged rows are {classes[judged[0]]!r}"
    if not ranked:
        lacking |= dict.fromkeys((auroc, precision), "scores of different fits are not ranked against each other")
    elif len(judged) < 2:
        lacking |= dict.fromkeys((auroc, precision), alone)
    else:
        asked = [1] if two else judged.tolist()
        found[auroc] = float(np.mean([roc_auc_score(y == label, p[:, label]) for label in asked]))
        found[precision] = float(np.mean([average_precision_score(y == label, p[:, label]) for label in asked]))
    if two and not bool((y == 1).any()):
        lacking[f1] = alone
    else:
        asked = [1] if two else sorted({*judged.tolist(), *said.tolist()})
        found[f1] = float(f1_score(y, said, labels=asked, average="macro", zero_division=0.0))
    if len(judged) < 2:
        lacking["balanced accuracy"] = alone
    else:
        # The mean recall of the classes that occur, which balanced_accuracy_score gives too, with a warning where a
        # predicted class does not.
        found["balanced accuracy"] = float(recall_score(y, said, labels=judged, average="macro", zero_division=0.0))
    never = int((p[np.arange(len(y)), y] <= 0).sum())
    if never:
        lacking["log loss"] = f"the class of {never} of {len(y)} judged rows was given probability 0"
    else:
        found["log loss"] = float(log_loss(y, p, labels=np.arange(len(classes))))
    found["expected calibration error"] = calibration_error(truth, predicted.probabilities)
    return Scored(found, lacking)


def number_scores(truth: Tensor, predicted: Tensor) -> Scored:
    """Return R², MAE and RMSE of numbers, both floating `(N,)`."""
    y, said = truth.double().numpy(), predicted.double().numpy()
    found, lacking = {"RMSE": float(root_mean_squared_error(y, said))}, {}
    found["MAE"] = float(mean_absolute_error(y, said))
    if len(y) < 2 or bool((y == y[0]).all()):
        lacking["R²"] = "one row is judged" if len(y) < 2 else "the target is the same in all judged rows"
    else:
        found["R²"] = float(r2_score(y, said))
    return Scored(found, lacking)


def calibration_error(truth: Tensor, probabilities: Tensor, bins: int = BINS) -> float:
    """Return the expected calibration error (Guo et al., 2017).

    Rows fall into bins of equal width by the probability p of the class that is most probable, (0, 1/15], (1/15, 2/15],
    ...; the error is the mean over rows of |share of right classes in its bin - mean p in its bin|.

    >>> round(calibration_error(torch.tensor([0, 1]), torch.tensor([[0.9, 0.1], [0.9, 0.1]])), 6)
    0.4
    """
    sure, said = probabilities.double().max(1)
    right = (said == truth).double()
    place = (sure * bins).ceil().long().clamp(1, bins) - 1
    gaps = torch.zeros(bins, dtype=torch.float64).index_add_(0, place, right - sure)
    return float(gaps.abs().sum() / len(truth))
