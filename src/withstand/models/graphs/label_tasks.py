"""Pretext tasks made from the few labels there are (SelfTask, Jin et al., 2020): where each class lies in the graph."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss, one_hot

from withstand.core.errors import ConfigError, nearest
from withstand.core.random import Draws
from withstand.data.graphs.container import Graphs
from withstand.data.graphs.sparse import Pattern
from withstand.data.graphs.structure.correction import correct_labels
from withstand.data.graphs.structure.hops import hops_from, nearness
from withstand.data.graphs.structure.propagation import classify_iteratively, context_shares, propagate_labels
from withstand.models.graphs.tasks import Targets, Task

Teacher = Literal["propagation", "iterative", "both"]


@dataclass(frozen=True)
class DistanceToLabelled(Task):
    """Tell how near each unlabelled node is to each class: the mean of 1 / hops over the class's labelled nodes.

    A node that cannot be reached, and a node itself, count 0.
    """

    def outputs(self, features: int, classes: int) -> int:
        return classes

    def prepare(self, graphs: Graphs, labels: Tensor, classes: int, draws: Draws) -> Targets:
        known = (labels >= 0).nonzero()[:, 0]
        near = nearness(hops_from(graphs.edges, known))
        hot = one_hot(labels[known], classes).float()
        return {"near": near @ (hot / hot.sum(0).clamp_min(1)), "free": (labels < 0).nonzero()[:, 0]}

    def loss(self, head: nn.Module, z: Tensor, targets: Targets, draws: Draws) -> Tensor:
        free = targets["free"]
        return mse_loss(head(z[free]), targets["near"][free])


@dataclass(frozen=True)
class ContextLabel(Task):
    """Tell the shares of classes round each unlabelled node, whose labels a cheap classifier guesses.

    Known labels are never guessed; those of validation and test nodes always are.

    Args:
        teacher: harmonic label propagation ("propagation"), "iterative" classification, or the sum of "both".
        corrected: also tell the shares after label correction by the embeddings, at every step anew.
        alpha: weight of that.
        sampled: share of the unlabelled nodes that are corrected at a step.
    """

    teacher: Teacher = "propagation"
    corrected: bool = False
    alpha: float = 1.0
    sampled: float = 0.5

    def __post_init__(self) -> None:
        if self.teacher not in get_args(Teacher):
            raise ConfigError(f"teacher {self.teacher!r} is unknown: {nearest(str(self.teacher), get_args(Teacher))}")
        if not 0 < self.sampled <= 1:
            raise ConfigError(f"sampled must lie in (0, 1], not {self.sampled!r}: it is a share")

    def outputs(self, features: int, classes: int) -> int:
        return classes

    def prepare(self, graphs: Graphs, labels: Tensor, classes: int, draws: Draws) -> Targets:
        shares = torch.zeros(len(labels), classes)
        if self.teacher in ("propagation", "both"):
            shares += propagate_labels(graphs.edges, labels, classes)
        if self.teacher in ("iterative", "both"):
            shares += classify_iteratively(graphs.edges, graphs.dense(), labels, classes)
        guessed = torch.where(labels >= 0, labels, shares.argmax(1))
        return {
            "shares": context_shares(graphs.edges, guessed, classes),
            "guessed": guessed,
            "free": (labels < 0).nonzero()[:, 0],
            "start": graphs.edges.start,
            "column": graphs.edges.column,
        }

    def loss(self, head: nn.Module, z: Tensor, targets: Targets, draws: Draws) -> Tensor:
        free = targets["free"]
        told = head(z).softmax(1)
        loss = mse_loss(told[free], targets["shares"][free])
        if not self.corrected:
            return loss
        count = max(1, int(self.sampled * len(free)))
        asked = free[draws.bits(len(free))[0].argsort()[:count]]
        classes = targets["shares"].shape[1]
        better = targets["guessed"].clone()
        better[asked] = correct_labels(z, better, asked, classes).labels
        edges = Pattern(targets["start"], targets["column"], len(z))
        shares = context_shares(edges, better, classes)
        return loss + self.alpha * mse_loss(told[asked], shares[asked])
