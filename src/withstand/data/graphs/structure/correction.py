"""Label correction by density peaks (SelfTask, Jin et al., 2020, after Han et al., 2019).

Sizes: `N` nodes, `D` embedding width, `C` classes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from withstand.losses.precision import unit_rows

NEAR_DUPLICATE = 0.95
"""Cosine to a denser node from which on a node stands for nothing of its own."""


@dataclass(frozen=True)
class Corrected:
    """Labels after correction.

    Attributes:
        labels: int64 `(M,)`, of the nodes asked for.
        changed: how many differ from before.
    """

    labels: Tensor
    changed: int


def correct_labels(
    z: Tensor, labels: Tensor, asked: Tensor, classes: int, *, most: int = 320, prototypes: int = 8
) -> Corrected:
    """Return the labels of the classes whose prototypes a node's embedding is nearest to.

    In each class at most `most` nodes are taken. A node's density counts the others whose cosine to it is above the
    40th percentile of all pairs', less those below; prototypes are the densest that are no near duplicates of a denser
    one. Ties are broken by place. No gradient flows.

    Args:
        z: embeddings `(N, D)`.
        labels: current ones of all nodes, int64 `(N,)`.
        asked: the nodes whose labels are corrected, int64 `(M,)`.
        classes: C.
        most: nodes of a class that are looked at, the first of those asked for.
        prototypes: of each class.
    """
    unit = unit_rows(z.detach())
    scores = torch.full((len(asked), classes), -torch.inf, dtype=unit.dtype, device=z.device)
    for label in range(classes):
        members = asked[labels[asked] == label][:most]
        if len(members):
            chosen = members[_peaks(unit[members])[:prototypes]]
            scores[:, label] = (unit[asked] @ unit[chosen].t()).mean(1)
    found = scores.argmax(1)
    return Corrected(found, int((found != labels[asked]).sum()))


def _peaks(unit: Tensor) -> Tensor:
    """Return rows in the order in which they stand for their class."""
    similar = unit @ unit.t()
    middle = similar.flatten().quantile(0.4)
    density = (similar - middle).sign().sum(1)
    denser = density[None, :] > density[:, None]
    nearest = torch.where(denser, similar, -torch.inf).amax(1)
    nearest = torch.where(denser.any(1), nearest, similar.amin(1))
    density = torch.where(nearest >= NEAR_DUPLICATE, 0.0, density)
    return density.argsort(descending=True, stable=True)
