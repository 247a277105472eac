"""A screen before random search: tries that the slope foretells to be falls are not asked of the victim.

A small change does to the gain what the slope says, nearly: tries that fall are most of them, and need not be made.
Whether the slope is to be believed is measured, for every sample and page of tries: one try in twelve is made
whatever is foretold, and where one rises by note against the word of the slope, all are made in the next page that are
foretold to fall by no more than twice as much. A victim that hides or shatters its gradients is asked every time.

Shapes: M samples, K tries, C channels, P places in a rectangle.
"""

import torch
from torch import Tensor

from withstand.attacks.autoattack.square_turns import PAGE
from withstand.attacks.problem import Problem
from withstand.core.errors import DataError

_ASKED_ANYWAY = 12
_NEAR = 0.25
"""Foretold falls below this part of the size foretold on average in the last page may be rises: they are asked."""
_OF_NOTE = 0.125
"""A rise is of note from this part of that size."""
_SAFETY = 2.0


class SlopeScreen:
    """What is known of each sample's slope and its surprises; it hangs on the sample alone, not on its batch.

    Attributes:
        slope: of the gain, where the sample stood when the page began, `(M, C, H * W)`.
        slack: how deep a foretold fall must be for the try to be left out, `(M,)`; infinite in the first page.
        surprise: the deepest foretold fall of the page of now that was a rise of note, `(M,)`.
        size: of what was foretold on average in the page before, `(M,)`; 0 before there is one.
        total: the sum of these sizes in the page of now, `(M,)`.

    Args:
        like: the samples as pictures, `(M, C, H * W)`.
    """

    def __init__(self, like: Tensor) -> None:
        self.slope = torch.zeros_like(like)
        self.slack = torch.full((len(like),), torch.inf, dtype=like.dtype, device=like.device)
        self.surprise = torch.full_like(self.slack, torch.inf)
        self.size, self.total = torch.zeros_like(self.slack), torch.zeros_like(self.slack)

    def keep(self, rows: Tensor) -> None:
        """Leave all samples alone but those in `rows`."""
        for name in ("slope", "slack", "surprise", "size", "total"):
            setattr(self, name, getattr(self, name)[rows])

    def turn_page(self, problem: Problem, x: Tensor) -> bool:
        """Take all samples' slopes where they stand; return whether the victim gives any."""
        try:
            slope = problem.gradient(x)[2]
        except DataError:  # no slope, or not a finite one: the search needs none
            return False
        self.slope = slope.reshape(self.slope.shape)
        self.size, self.total = self.total / PAGE, torch.zeros_like(self.total)
        self.slack, self.surprise = _SAFETY * self.surprise, torch.zeros_like(self.surprise)
        return True

    def foretell(self, rows: Tensor, index: Tensor, change: Tensor) -> Tensor:
        """Return by how much tries raise the gain as the slope has it, `(M, K)`.

        Args:
            rows: the samples, by their places, `(M,)`.
            index: places in a flat picture, `(M, K, C, P)`.
            change: what is added there, alike.
        """
        slope = self.slope[rows, None].expand(-1, index.shape[1], -1, -1)
        return (slope.gather(3, index) * change).flatten(2).sum(2)

    def asks(self, rows: Tensor, turns: Tensor, foretold: Tensor) -> Tensor:
        """Return which of the tries `(M, K)` are asked of the victim."""
        slack = torch.maximum(self.slack[rows], _NEAR * self.size[rows])
        return (foretold + slack[:, None] >= 0) | (turns % _ASKED_ANYWAY == 0)

    def learn(self, rows: Tensor, foretold: Tensor, rise: Tensor, behind: Tensor) -> None:
        """Take note of a block of tries.

        Args:
            rows: the samples, by their places, `(M,)`.
            foretold: of the block's tries, `(M, K)`.
            rise: what the victim said, `(M, K)`; minus infinity where it was not asked.
            behind: which of the tries are over and done with, `(M, K)`: each is so once, whatever the blocks.
        """
        self.total[rows] += torch.where(behind, foretold.abs(), 0).sum(1)
        of_note = rise > _OF_NOTE * self.size[rows, None]
        deepest = torch.where(of_note, -foretold, 0).amax(1)
        self.surprise[rows] = torch.maximum(self.surprise[rows], deepest)
