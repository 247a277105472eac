"""A window of a picture: a unit of a convolution sees few places of its input, and its bounds need no others."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

Shape = tuple[int, ...]


def rows_of(values: Tensor) -> Tensor:
    """Return values `(B, *shape)` as `(B, entries)`; a sample may be a single number, `(B,)`."""
    return values.flatten(1) if values.dim() > 1 else values[:, None]


@dataclass(frozen=True)
class Window:
    """Rows from `top` to before `bottom` and columns from `left` to before `right` of pictures `(..., H, W)`."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width."""
        return self.bottom - self.top, self.right - self.left

    def cut(self, values: Tensor) -> Tensor:
        """Return what lies in the window; sides of 1, which are broadcast, stay as they are."""
        if values.dim() < 2:
            return values
        if values.shape[-2] > 1:
            values = values[..., self.top : self.bottom, :]
        return values[..., self.left : self.right] if values.shape[-1] > 1 else values

    def fill(self, values: Tensor, shape: Shape) -> Tensor:
        """Return whole pictures `(..., *shape)` with `values` in the window and zeros elsewhere."""
        height, width = shape[-2:]
        return F.pad(values, (self.left, width - self.right, self.top, height - self.bottom))

    def hull(self, other: "Window") -> "Window":
        """Return the smallest window that holds both."""
        return Window(
            min(self.top, other.top),
            max(self.bottom, other.bottom),
            min(self.left, other.left),
            max(self.right, other.right),
        )

    def within(self, outer: "Window", values: Tensor) -> Tensor:
        """Return values of this window as those of a larger one, with zeros beside them."""
        if outer == self:
            return values
        beside = (self.left - outer.left, outer.right - self.right, self.top - outer.top, outer.bottom - self.bottom)
        return F.pad(values, beside)
