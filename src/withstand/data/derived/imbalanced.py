"""Classes of unequal size, cut from a labelled source: the usual test bed of learning from rare classes.

Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss (2019), the official code's counts.
"""

from typing import Literal, get_args

import torch

from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.random import permutation
from withstand.core.roles import Source
from withstand.data.derived.subset import _Chosen

Imbalance = Literal["exp", "step"]


def imbalanced_counts(classes: int, largest: int, kind: Imbalance, ratio: float) -> tuple[int, ...]:
    """Return each class's size: the first has `largest`, the last `ratio` times as many.

    >>> imbalanced_counts(10, 5000, "exp", 0.01)
    (5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50)
    """
    if kind not in get_args(Imbalance):
        raise ConfigError(f"kind {kind!r} is unknown: {nearest(str(kind), get_args(Imbalance))}")
    if not 0 < ratio <= 1:
        raise ConfigError(f"ratio must lie in (0, 1], not {ratio!r}")
    if kind == "step":
        return tuple(largest if k < classes // 2 else int(largest * ratio) for k in range(classes))
    return tuple(int(largest * ratio ** (k / (classes - 1))) for k in range(classes))


class Imbalanced(_Chosen):
    """A labelled source with later classes cut down; for training parts only: test parts stay balanced.

    Args:
        source: the whole, labelled.
        kind: "exp", sizes falling geometrically; "step", the second half of the classes cut.
        ratio: the smallest class's size over the largest's.
        largest: samples of the first class; None for the whole's smallest class.
        seed: chooses the samples that stay.

    Raises:
        DataError: no labels, one class, or a class that has too few samples.
    """

    def __init__(
        self, source: Source, kind: Imbalance = "step", *, ratio: float = 0.1, largest: int | None = None, seed: int = 0
    ) -> None:
        labels = source.labels
        if labels is None:
            raise DataError("classes cannot be cut: the source has no labels")
        found, present = torch.unique(labels[labels >= 0], return_counts=True)
        if len(present) < 2:
            raise DataError("classes cannot be cut: the source has only one")
        most = int(present.min()) if largest is None else largest
        counts = imbalanced_counts(len(present), most, kind, ratio)
        order = permutation(len(source), seed, "imbalanced")
        rows = []
        for label, own, count in zip(found.tolist(), present.tolist(), counts, strict=True):
            if not 0 < count <= own:
                raise DataError(f"class {label} would have {count} of its {own} samples: change ratio or largest")
            rows.append(order[labels[order] == label][:count])
        self._choose(source, torch.cat(rows).sort().values)
