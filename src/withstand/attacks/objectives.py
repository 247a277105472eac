"""Objectives: what an attack raises, per sample, and when its goal is met.

Shapes: logits `(N, C)`, labels `(N,)`, embeddings `(N, D)`, values `(N,)`. Larger is worse for the victim;
a targeted attack lowers the same value for the wanted class or embedding.
"""

import warnings
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.part import Part
from withstand.core.victims.victim import Outputs

AttackLoss: TypeAlias = Callable[[Outputs, Tensor, Tensor], Tensor]
"""`(outputs, y, x) -> (N,)`, larger is worse for the victim."""


class Objective(Part):
    """A loss with what an attack must know besides: what stands for a missing `y`, and what success is."""

    flat_at_clean: ClassVar[bool] = False
    """Whether the gradient vanishes on the clean input when `y` is the victim's own clean output."""

    @abstractmethod
    def __call__(self, outputs: Outputs, y: Tensor, x: Tensor) -> Tensor:
        """Return each sample's value `(N,)`; larger is worse for the victim."""

    @abstractmethod
    def reference(self, outputs: Outputs) -> Tensor:
        """Return what stands for `y` when there is none, from the victim's clean outputs."""

    @abstractmethod
    def reached(self, outputs: Outputs, y: Tensor, *, targeted: bool) -> Tensor:
        """Return whether each sample's goal is met, bool `(N,)`."""

    @abstractmethod
    def check(self, outputs: Outputs, y: Tensor) -> None:
        """Refuse a `y` that does not fit the outputs.

        Raises:
            DataError: labels out of range, or of the wrong shape.
        """


@dataclass(frozen=True)
class _OnLogits(Objective):
    """Objectives on class scores; success is the predicted class.

    Args:
        output: which entry holds the logits when the victim gives a dict.
    """

    output: str = "logits"

    def reference(self, outputs: Outputs) -> Tensor:
        return pick(outputs, self.output).argmax(1)

    def reached(self, outputs: Outputs, y: Tensor, *, targeted: bool) -> Tensor:
        hit = pick(outputs, self.output).argmax(1) == y
        return hit if targeted else ~hit

    def check(self, outputs: Outputs, y: Tensor) -> None:
        logits = pick(outputs, self.output)
        if logits.dim() != 2 or logits.shape[1] < 2:
            raise DataError(
                f"logits must be (N, C) with at least two classes, not {tuple(logits.shape)}: "
                "an encoder without classes is attacked with EmbeddingDistance"
            )
        if y.shape != logits.shape[:1] or y.is_floating_point():
            raise DataError(f"labels must be integers of shape ({len(logits)},), not {y.dtype} {tuple(y.shape)}")
        if len(y) and not 0 <= int(y.min()) <= int(y.max()) < logits.shape[1]:
            raise DataError(
                f"labels lie in [{int(y.min())}, {int(y.max())}], "
                f"but the victim knows classes 0 to {logits.shape[1] - 1}"
            )


@dataclass(frozen=True)
class CrossEntropy(_OnLogits):
    """-log p(y)."""

    def __call__(self, outputs: Outputs, y: Tensor, x: Tensor) -> Tensor:
        return F.cross_entropy(_full(pick(outputs, self.output)), y, reduction="none")


@dataclass(frozen=True)
class Margin(_OnLogits):
    """max of the other classes' logits minus the logit of `y`: above zero where misclassified.

    Its gradient does not vanish where the softmax is saturated (Carlini and Wagner, 2017).
    """

    def __call__(self, outputs: Outputs, y: Tensor, x: Tensor) -> Tensor:
        logits = _full(pick(outputs, self.output))
        own = logits.gather(1, y[:, None]).squeeze(1)
        return logits.scatter(1, y[:, None], -torch.inf).amax(1) - own


@dataclass(frozen=True)
class DLR(_OnLogits):
    """Difference of logits ratio: the margin over the gap between the first and the third logit.

    Adding to all logits, or scaling them, changes nothing, so that a saturated softmax hides no gradient
    (Croce and Hein, 2020). With fewer than four classes it is the margin itself, with a warning.
    """

    def __call__(self, outputs: Outputs, y: Tensor, x: Tensor) -> Tensor:
        logits = _full(pick(outputs, self.output))
        margin = Margin(self.output)(outputs, y, x)
        if _too_few(logits, "DLR"):
            return margin
        top = logits.topk(3, dim=1).values
        return margin / (top[:, 0] - top[:, 2] + 1e-12)


@dataclass(frozen=True)
class TargetedDLR(_OnLogits):
    """The wanted class's logit over that of the label, in units that scaling the logits does not change.

    `y` holds the label and the wanted class, `(N, 2)`; success is any prediction but the label, as wherever
    AutoAttack aims at classes. With fewer than four classes it is the bare difference, with a warning.
    """

    def __call__(self, outputs: Outputs, y: Tensor, x: Tensor) -> Tensor:
        logits = _full(pick(outputs, self.output))
        own, wanted = logits.gather(1, y).unbind(1)
        if _too_few(logits, "the targeted DLR"):
            return wanted - own
        top = logits.topk(4, dim=1).values
        return (wanted - own) / (top[:, 0] - (top[:, 2] + top[:, 3]) / 2 + 1e-12)

    def reference(self, outputs: Outputs) -> Tensor:
        return pick(outputs, self.output).topk(2, dim=1).indices

    def reached(self, outputs: Outputs, y: Tensor, *, targeted: bool) -> Tensor:
        return super().reached(outputs, y[:, 1 if targeted else 0], targeted=targeted)

    def check(self, outputs: Outputs, y: Tensor) -> None:
        if y.dim() != 2 or y.shape[1] != 2:
            raise DataError(f"y must be (N, 2), each label beside the wanted class, not {tuple(y.shape)}")
        for column in y.unbind(1):
            super().check(outputs, column)
        same = (y[:, 0] == y[:, 1]).nonzero()
        if len(same):
            place = int(same[0])
            raise DataError(f"sample {place} is to become its own label, {int(y[place, 0])}: aim at another class")


def _too_few(logits: Tensor, name: str) -> bool:
    if logits.shape[1] >= 4:
        return False
    warnings.warn(f"{name} loss needs four classes, not {logits.shape[1]}: the margin is used", stacklevel=3)
    return True


@dataclass(frozen=True)
class OnLogits(_OnLogits):
    """A plain function as objective; success is a prediction other than `y`, or `y` when targeted.

    Args:
        loss: `(outputs, y, x) -> (N,)`, larger is worse for the victim.
    """

    loss: AttackLoss = CrossEntropy()

    def __call__(self, outputs: Outputs, y: Tensor, x: Tensor) -> Tensor:
        return self.loss(outputs, y, x)


@dataclass(frozen=True)
class EmbeddingDistance(Objective):
    """Distance of an embedding from `y`, an embedding itself; without `y`, from the clean embedding.

    At the clean input that distance is at its minimum and its gradient zero, so an attack on it needs a
    random start.

    Args:
        metric: "cosine" (1 - cosine similarity, 0 to 2) or "euclidean".
        threshold: the goal is a distance above it, or below it when targeted.
        output: which entry holds the embedding when the victim gives a dict.
    """

    metric: Literal["cosine", "euclidean"] = "cosine"
    threshold: float = 0.5
    output: str = "embedding"

    flat_at_clean: ClassVar[bool] = True

    def __post_init__(self) -> None:
        allowed = get_args(EmbeddingDistance.__annotations__["metric"])
        if self.metric not in allowed:
            raise ConfigError(f"metric {self.metric!r} is unknown: {nearest(str(self.metric), allowed)}")

    def __call__(self, outputs: Outputs, y: Tensor, x: Tensor) -> Tensor:
        found, wanted = (_full(value).flatten(1) for value in (pick(outputs, self.output), y))
        if self.metric == "cosine":
            return 1 - F.cosine_similarity(found, wanted, dim=1)
        distance: Tensor = torch.linalg.vector_norm(found - wanted, dim=1)
        return distance

    def reference(self, outputs: Outputs) -> Tensor:
        return pick(outputs, self.output).detach()

    def reached(self, outputs: Outputs, y: Tensor, *, targeted: bool) -> Tensor:
        distance = self(outputs, y, y)
        return distance < self.threshold if targeted else distance > self.threshold

    def check(self, outputs: Outputs, y: Tensor) -> None:
        shape = pick(outputs, self.output).shape
        if y.shape != shape or not y.is_floating_point():
            raise DataError(
                f"y must be embeddings of shape {tuple(shape)}, not {y.dtype} {tuple(y.shape)}; "
                "leave it out to attack the distance from the clean embedding"
            )


def as_objective(loss: Objective | AttackLoss) -> Objective:
    """Return `loss` as an objective; a plain function is taken to judge logits."""
    return loss if isinstance(loss, Objective) else OnLogits(loss=loss)


def pick(outputs: Outputs, name: str) -> Tensor:
    """Return the only output, or the named entry of a dict of outputs."""
    if not isinstance(outputs, Mapping):
        return outputs
    if name not in outputs:
        raise ConfigError(f"the victim gives no output {name!r}: {nearest(name, outputs)}")
    return outputs[name]


def _full(value: Tensor) -> Tensor:
    """Return at least single precision: logarithms and distances do not fit in half."""
    return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value
