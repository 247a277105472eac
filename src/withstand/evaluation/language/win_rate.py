"""Win rates: how often one answer is preferred to another, plainly, and as if both were equally long.

Size: N prompts.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self, TypeAlias

import torch
from torch import Tensor

from withstand.core.errors import DataError
from withstand.core.findings.finding import Better, Measure

Judge: TypeAlias = Callable[[str, str, str], float]
"""What prefers one of two answers to a prompt: 1 for the first, 0 for the second, 1/2 for neither."""
_NORMAL = 1.959963984540054
"""Two-sided 95 % quantile of the standard normal law."""


@dataclass(frozen=True, slots=True)
class WinRate:
    """Wins of one side over another, a tie half a win.

    Attributes:
        wins: how often the first side is preferred.
        ties: how often neither is.
        count: of prompts.
    """

    wins: int
    ties: int
    count: int

    @classmethod
    def of(cls, preferred: Tensor) -> Self:
        """Return that of preferences `(N,)`: 1 for the first side, 0 for the second, 1/2 for a tie.

        Raises:
            DataError: no prompts, or other numbers.
        """
        if not len(preferred):
            raise DataError("a win rate is of one prompt or more")
        if not bool(torch.isin(preferred, torch.tensor([0, 0.5, 1], dtype=preferred.dtype)).all()):
            raise DataError("preferences are 1, 0, or 1/2 for a tie")
        return cls(int((preferred == 1).sum()), int((preferred == 0.5).sum()), len(preferred))

    @property
    def value(self) -> float:
        """The share of wins, ties counted half."""
        return (self.wins + self.ties / 2) / self.count

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval (Wilson's, of a share with halves): wider than need be where there are ties."""
        z, n, p = _NORMAL, self.count, self.value
        middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return max(0.0, middle - half), min(1.0, middle + half)

    def measure(self, better: Better = "higher") -> Measure:
        """Return it as a finding's figure."""
        return Measure(self.value, "share", better, interval=self.interval, of=self.count)


def preferred_by(ours: Tensor, theirs: Tensor) -> Tensor:
    """Return preferences `(N,)` by scores of both sides: 1 where ours is higher, 1/2 where they are equal."""
    return 0.5 + (ours - theirs).sign() / 2


def preferred_by_judge(judge: Judge, prompts: Sequence[str], ours: Sequence[str], theirs: Sequence[str]) -> Tensor:
    """Return a judge's preferences `(N,)` without its leaning to a place: each pair is shown in both orders.

    Where the judge takes the first place, or the second, whoever stands there, it prefers neither.

    Args:
        judge: takes a prompt and two answers, and returns 1 where the first is better, 0 where the second is, 1/2.
        prompts: what was answered.
        ours: answers.
        theirs: the other side's.
    """
    found = []
    for prompt, one, two in zip(prompts, ours, theirs, strict=True):
        mean = (judge(prompt, one, two) + 1 - judge(prompt, two, one)) / 2
        found.append(mean if mean in (0.0, 1.0) else 0.5)
    return torch.tensor(found)


def length_controlled(preferred: Tensor, longer: Tensor, *, ridge: float = 1e-3) -> float:
    """Return the win rate that is left where both answers are equally long.

    By a logistic model of the preference, with a free intercept and a slope on tanh(difference of lengths / its
    deviation), at a difference of 0: the model of AlpacaEval's length-controlled win rate (Dubois et al., 2024) without
    its term of how hard a prompt is, which takes several models to fit.

    Args:
        preferred: 1, 0, or 1/2 for a tie, `(N,)`.
        longer: by how much our answers are longer, `(N,)`.
        ridge: weight of the slope's square, for preferences that length alone tells.

    Returns:
        the plain rate where lengths do not differ, or where one side always wins.

    Raises:
        DataError: no prompts.
    """
    plain = WinRate.of(preferred).value
    difference = longer.double()
    deviation = float(difference.square().mean().sqrt())
    if deviation == 0 or plain in (0.0, 1.0):
        return plain
    x = torch.stack([torch.ones(len(longer), dtype=torch.float64), (difference / deviation).tanh()], 1)
    y, weights = preferred.double(), torch.zeros(2, dtype=torch.float64)
    penalty = torch.tensor([0.0, ridge], dtype=torch.float64) * len(y)
    loss = _loss(x, y, weights, penalty)
    for _ in range(100):  # Newton's steps, halved where they go too far
        chance = (x @ weights).sigmoid()
        gradient = x.T @ (chance - y) + penalty * weights
        curve = (x * (chance * (1 - chance))[:, None]).T @ x + torch.diag(penalty) + 1e-12 * torch.eye(2).double()
        move, share = torch.linalg.solve(curve, gradient), 1.0
        while share > 1e-6 and _loss(x, y, weights - share * move, penalty) > loss:
            share /= 2
        weights = weights - share * move
        loss = _loss(x, y, weights, penalty)
        if float(move.abs().max()) * share < 1e-10:
            break
    return float(weights[0].sigmoid())


def _loss(x: Tensor, y: Tensor, weights: Tensor, penalty: Tensor) -> float:
    logits = x @ weights
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits, y, reduction="sum")
    return float(entropy + (penalty * weights.square()).sum() / 2)
