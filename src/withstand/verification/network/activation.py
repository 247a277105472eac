"""The operations of a captured network that are not linear. Shapes: batches `(B, *shape)`."""

from abc import abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from withstand.verification.network.operation import Operation

Interval = tuple[Tensor, Tensor]
"""Smallest and largest values, `(B, *shape)` each."""


@dataclass(frozen=True, eq=False)
class Bent(Operation):
    """Base of the operations that are not linear."""

    @abstractmethod
    def span(self, *inputs: Interval) -> Interval:
        """Return what values the operation takes where its inputs lie in intervals, rounded outward."""


@dataclass(frozen=True, eq=False)
class Activation(Bent):
    """A function of each entry."""


@dataclass(frozen=True, eq=False)
class ReLU(Activation):
    """max(x, slope * x): ReLU for slope 0, leaky for slopes above, |x| for -1.

    Args:
        slope: at least -1, at most 1.
    """

    slope: float = 0.0

    def forward(self, *inputs: Tensor) -> Tensor:
        return F.leaky_relu(inputs[0], self.slope) if self.slope else inputs[0].clamp_min(0)

    def span(self, *inputs: Interval) -> Interval:
        ((low, high),) = inputs
        below, above = self.forward(low), self.forward(high)
        if not self.slope:
            return below, above
        if self.slope < 0:
            ends = torch.maximum(below, above)
            below = torch.where((low < 0) & (high > 0), torch.zeros_like(below), torch.minimum(below, above))
            above = ends
        slack = 8 * torch.finfo(low.dtype).eps
        return below - slack * below.abs(), above + slack * above.abs()


@dataclass(frozen=True, eq=False)
class Curve(Activation):
    """A function that is convex between two places and concave beyond them, and falls at most up to one place.

    It may have convex kinks inside, and concave ones at the two places.

    Bounds are computed in float64. What they need to know of rounding there is `doubt`.
    """

    @property
    @abstractmethod
    def convex(self) -> tuple[float, float]:
        """From where to where the function is convex."""

    @property
    def lowest(self) -> float:
        """The place of the smallest value: -inf where the function only rises, inf where it only falls."""
        return -torch.inf

    @property
    def steepest(self) -> float | None:
        """The largest size of a slope; None where it depends on the interval."""
        return 1.0

    @property
    def start(self) -> float:
        """Above what the function is defined; at or below, bounds are no numbers and prove nothing."""
        return -torch.inf

    @property
    def kinked(self) -> bool:
        """Whether the two places are concave kinks, of which `rate` tells the slope from inside."""
        return False

    @abstractmethod
    def rate(self, x: Tensor) -> Tensor:
        """Return the derivative, off by at most 16 roundings of its size, or of 1 where `steepest` is a number."""

    def doubt(self, x: Tensor, y: Tensor) -> Tensor:
        """Return how far values y that were computed at x may be off."""
        return 16 * torch.finfo(y.dtype).eps * y.abs() + 1e-300

    def span(self, *inputs: Interval) -> Interval:
        ((low, high),) = inputs
        least, below, above = None, low.double(), high.double()
        first, last = self.forward(below), self.forward(above)
        if abs(self.lowest) != torch.inf:
            place = below.new_full((), self.lowest).expand_as(below)
            least = torch.minimum(torch.maximum(place, below), above)
        # Each place has its own doubt: exp's at the far end is more than its value at the near one.
        near, far = self.doubt(below, first), self.doubt(above, last)
        bottom, top = torch.minimum(first - near, last - far), torch.maximum(first + near, last + far)
        if least is not None:
            found = self.forward(least)
            bottom = torch.minimum(bottom, found - self.doubt(least, found))
        if self.start != -torch.inf:
            bottom, top = (value.masked_fill(below <= self.start, torch.nan) for value in (bottom, top))
        return rounded(bottom, low.dtype, up=False), rounded(top, low.dtype, up=True)


def rounded(values: Tensor, dtype: torch.dtype, *, up: bool) -> Tensor:
    """Return float64 values in another precision, none below (`up`) or above what it was."""
    if dtype == torch.float64:
        return values
    limits = torch.finfo(dtype)
    found = values.to(dtype)
    room = limits.eps * found.abs() + limits.tiny
    return found + room if up else found - room


@dataclass(frozen=True, eq=False)
class Sigmoid(Curve):
    """1 / (1 + exp(-x))."""

    @property
    def convex(self) -> tuple[float, float]:
        return -torch.inf, 0.0

    @property
    def steepest(self) -> float:
        return 0.25

    def forward(self, *inputs: Tensor) -> Tensor:
        return inputs[0].sigmoid()

    def rate(self, x: Tensor) -> Tensor:
        y = x.sigmoid()
        return y * (1 - y)


@dataclass(frozen=True, eq=False)
class Tanh(Curve):
    """The hyperbolic tangent."""

    @property
    def convex(self) -> tuple[float, float]:
        return -torch.inf, 0.0

    def forward(self, *inputs: Tensor) -> Tensor:
        return inputs[0].tanh()

    def rate(self, x: Tensor) -> Tensor:
        return 1 - x.tanh().square()


@dataclass(frozen=True, eq=False)
class MaxPool2d(Bent):
    """The largest entry of each window; padding never wins."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    ceil: bool = False

    def forward(self, *inputs: Tensor) -> Tensor:
        return F.max_pool2d(inputs[0], self.kernel, self.stride, self.padding, self.dilation, self.ceil)

    def span(self, *inputs: Interval) -> Interval:
        ((low, high),) = inputs
        return self.forward(low), self.forward(high)

    def windows(self, shape: tuple[int, ...]) -> Tensor:
        """Return each output's inputs as flat places, int64 `(outputs, kernel size)`; -1 for padding."""
        channels, height, width = shape
        places = torch.arange(channels * height * width, dtype=torch.float64).view(1, *shape) + 1
        (down, right), (top, left) = self.kernel, self.padding
        out = self.forward(places).shape[2:]
        far = [
            max(0, (out[d] - 1) * self.stride[d] + self.dilation[d] * (self.kernel[d] - 1) + 1 - side - pad)
            for d, (side, pad) in enumerate(((height, top), (width, left)))
        ]
        padded = F.pad(places, (left, far[1], top, far[0]))
        patches = F.unfold(padded, self.kernel, self.dilation, 0, self.stride)
        rows = (padded.shape[2] - self.dilation[0] * (down - 1) - 1) // self.stride[0] + 1
        columns = (padded.shape[3] - self.dilation[1] * (right - 1) - 1) // self.stride[1] + 1
        patches = patches.view(channels, down * right, rows, columns)[:, :, : out[0], : out[1]]
        return patches.permute(0, 2, 3, 1).reshape(-1, down * right).long() - 1
