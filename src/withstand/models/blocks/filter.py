"""Filters: from inputs in [0, 1] to inputs in [0, 1] of the same shape, made to be put in front of a network."""

from abc import abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from withstand.core.random import Draws
from withstand.core.roles import Gradient


class Filter(nn.Module):
    """What cleans inputs; it says how it is to be differentiated through.

    A method gives one as its product "purifier". A network that is no `Filter` cleans inputs just as well, and is
    differentiated through as it is.

    Attributes:
        gradient: "exact" where its own slopes tell how its output moves; "straight-through" where they are zero or
            mislead, as a quantiser's are: an attacker then takes the filter for the identity on the way back.
    """

    gradient: ClassVar[Gradient] = "exact"

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Return the cleaned inputs, shaped like `x`."""


class RandomFilter(nn.Module):
    """A filter that draws; see `Filter`."""

    gradient: ClassVar[Gradient] = "exact"

    @abstractmethod
    def forward(self, x: Tensor, draws: Draws) -> Tensor:
        """Return the cleaned inputs, shaped like `x`; sample i draws from stream i alone."""
