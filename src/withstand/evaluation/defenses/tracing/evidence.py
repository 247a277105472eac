"""Evidence: by how much each copy's tracer favours the wrong class of an adversarial example over the right one.

The difference of logits (DOL) of Tracing the Origin of Adversarial Attack for Forensic Investigation and Deterrence
(2022), in standard deviations of what the same tracer does on clean pictures.
Sizes: N pictures, K classes, M copies, R of them registered.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from withstand.core.errors import DataError
from withstand.models.pictures.tracers import TracedCopies

_AT_ONCE = 256
_SHRINK = 10.0
"""Clean pictures of all classes that those of one class are joined by, as many times as they count: few say little."""


def every_copy(copies: TracedCopies, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return labels by the classifier `(N,)`, logits of every copy `(M, N, K)`, and tracers' outputs `(M, N, K)`."""
    with torch.no_grad():
        parts = [copies.both(part) for part in torch.split(x, _AT_ONCE)]
    scaled = torch.cat([each[0] for each in parts])
    told = torch.cat([each[1] for each in parts], 1)
    return scaled.argmax(1), scaled + copies.alpha * told, told


def difference_of_logits(told: Tensor, wrong: Tensor, right: Tensor) -> Tensor:
    """Return `told[..., wrong] - told[..., right]`, `(M, N)`.

    Args:
        told: what tracers say, `(M, N, K)`.
        wrong: a class for each picture, `(N,)`.
        right: another one, `(N,)`.
    """
    rows = torch.arange(told.shape[1], device=told.device)
    return told[:, rows, wrong] - told[:, rows, right]


@dataclass(frozen=True)
class Reference:
    """What differences of logits are like on clean pictures, for each copy and each pair of classes, right and wrong.

    Attributes:
        mean: `(M, K, K)`.
        deviation: `(M, K, K)`; 0 on the diagonal.
    """

    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, told: Tensor, label: Tensor) -> "Reference":
        """Return the reference of clean pictures.

        Args:
            told: what tracers say of them, `(M, N, K)`.
            label: their classes, `(N,)`.

        Raises:
            DataError: fewer than two pictures.
        """
        if told.shape[1] < 2:
            raise DataError(
                f"what tracers do on clean pictures is known from two of them at least, not {told.shape[1]}"
            )
        everyone = _moments(told)
        means, squares = [], []
        for right in range(told.shape[2]):
            mine = told[:, label == right]
            count = mine.shape[1]
            some = _moments(mine) if count else everyone
            mean, square = (
                (count * one + _SHRINK * other) / (count + _SHRINK) for one, other in zip(some, everyone, strict=True)
            )
            means.append(mean[:, right])
            squares.append(square[:, right])
        mean, square = torch.stack(means, 1), torch.stack(squares, 1)
        return cls(mean, (square - mean.square()).clamp_min(0).sqrt())

    def standardised(self, told: Tensor, wrong: Tensor, right: Tensor) -> Tensor:
        """Return each picture's difference of logits in deviations from the clean mean, `(N, M)`; 0 where none vary."""
        mean, deviation = (each[:, right, wrong] for each in (self.mean, self.deviation))
        away = difference_of_logits(told, wrong, right).double() - mean
        return torch.where(deviation > 0, away / deviation.clamp_min(1e-12), 0.0).T


def _moments(told: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean of each difference of two classes and of its square, `(M, K, K)`: [right, wrong]."""
    told = told.double()
    mean = told.mean(1)
    both = torch.einsum("mnk,mnl->mkl", told, told) / told.shape[1]
    square = both.diagonal(dim1=1, dim2=2)
    return mean[:, None] - mean[..., None], square[:, None] + square[..., None] - 2 * both


@dataclass(frozen=True)
class Evidence:
    """What the registered copies say of suspected pictures.

    Attributes:
        score: standardised differences of logits, `(N, R)`.
        right: what the pictures show, `(N,)`.
        wrong: what they were made to be taken for, `(N,)`.
        fooled: whether each copy takes them for anything but what they show, bool `(N, R)`.
    """

    score: Tensor
    right: Tensor
    wrong: Tensor
    fooled: Tensor


def gather(
    copies: TracedCopies, reference: Reference, x: Tensor, right: Tensor, wrong: Tensor | None = None
) -> Evidence:
    """Return the evidence of pictures, from one pass for all copies.

    Args:
        copies: all of them.
        reference: of the same copies.
        x: suspected pictures in [0, 1], `(N, C, H, W)`.
        right: what they show, `(N,)`.
        wrong: what the attacked copy takes them for; where that is not known the wrong class to which any registered
            copy is led farthest.
    """
    _, logits, told = every_copy(copies, x)
    logits, told = logits[: copies.registered], told[: copies.registered]
    if wrong is None:
        wrong = logits.scatter(2, right.expand(len(logits), -1)[..., None], -torch.inf).amax(0).argmax(1)
    known = Reference(*(each[: copies.registered] for each in (reference.mean, reference.deviation)))
    return Evidence(known.standardised(told, wrong, right), right, wrong, (logits.argmax(2) != right).T)
