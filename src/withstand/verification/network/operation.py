"""What a captured network is made of: linear operations here, the others in `activation`.

All operations take and give batches `(B, *shape)`. A linear operation is `A x + b`; besides `forward` it gives
what bounds need: the adjoint of A, and |A| without ever writing A down as a matrix.
"""

import math
from abc import abstractmethod
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from withstand.verification.bounds.receptive_field import Shape, Window, rows_of


@dataclass(frozen=True, eq=False)
class Operation:
    """Base of all operations."""

    @abstractmethod
    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the operation's output for batches of inputs."""

    def to(self, dtype: torch.dtype, device: torch.device | None = None) -> Self:
        """Return the same operation with its tensors in another type, on another device."""
        changed: dict[str, Any] = {
            field.name: value.to(dtype=dtype, device=device)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, **changed) if changed else self


@dataclass(frozen=True, eq=False)
class Input(Operation):
    """The network's input."""

    def forward(self, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        return x


@dataclass(frozen=True, eq=False)
class Constant(Operation):
    """A value that no input changes; `Network` gives it the batch's length."""

    value: Tensor

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.value[None]


@dataclass(frozen=True, eq=False)
class LinearOperation(Operation):
    """`A x + b`, of one input or the sum over several.

    Attributes:
        bias: b, broadcast to the output's shape; None where there is none.
        terms: how many products an output is the sum of; for bounds on rounding.
    """

    bias: Tensor | None = None

    @property
    def terms(self) -> int:
        return 1

    def forward(self, *inputs: Tensor) -> Tensor:
        output = self.apply(*inputs)
        return output if self.bias is None else output + self.bias

    def apply(self, *inputs: Tensor) -> Tensor:
        """Return `A x`."""
        return self._map(inputs, 1, signed=True)

    def absolute(self, *inputs: Tensor, power: int = 1) -> Tensor:
        """Return `|A|^power x`, the power taken entry by entry."""
        return self._map(inputs, power, signed=False)

    @abstractmethod
    def _map(self, inputs: tuple[Tensor, ...], power: int, *, signed: bool) -> Tensor: ...

    @abstractmethod
    def transpose(self, cotangent: Tensor, shapes: tuple[Shape, ...]) -> tuple[Tensor, ...]:
        """Return `A^T c` for each input, `(B, *shape)`, from `(B, *output shape)`."""

    def transpose_window(
        self, cotangent: Tensor, window: Window, shapes: tuple[Shape, ...]
    ) -> tuple[tuple[Tensor, Window], ...] | None:
        """Return `A^T c` for each input as a window of it; `c` is zero outside a window of the output.

        None where the operation does not keep to windows.
        """
        return None


def _sum_to(values: Tensor, shape: Shape) -> Tensor:
    """Return batches summed over what broadcasting a sample of `shape` has repeated; the adjoint of it."""
    return values if values.shape[1:] == shape else values.sum_to_size(len(values), *shape)


def _weight(weight: Tensor, power: int, signed: bool) -> Tensor:
    return weight if signed else weight.abs() if power == 1 else weight.abs().pow(power)


@dataclass(frozen=True, eq=False, kw_only=True)
class Linear(LinearOperation):
    """A matrix on the last dimension; `weight` is `(out, in)`."""

    weight: Tensor

    @property
    def terms(self) -> int:
        return self.weight.shape[1]

    def _map(self, inputs: tuple[Tensor, ...], power: int, *, signed: bool) -> Tensor:
        return F.linear(inputs[0], _weight(self.weight, power, signed))

    def transpose(self, cotangent: Tensor, shapes: tuple[Shape, ...]) -> tuple[Tensor, ...]:
        return (cotangent @ self.weight,)


@dataclass(frozen=True, eq=False, kw_only=True)
class Conv2d(LinearOperation):
    """A convolution with zero padding; `weight` is `(out, in / groups, h, w)`, `bias` `(out, 1, 1)`."""

    weight: Tensor
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    @property
    def terms(self) -> int:
        return math.prod(self.weight.shape[1:])

    def _map(self, inputs: tuple[Tensor, ...], power: int, *, signed: bool) -> Tensor:
        weight = _weight(self.weight, power, signed)
        return F.conv2d(inputs[0], weight, None, self.stride, self.padding, self.dilation, self.groups)

    def transpose(self, cotangent: Tensor, shapes: tuple[Shape, ...]) -> tuple[Tensor, ...]:
        # Where the stride leaves rows over at the far border, no output depends on them.
        left = [
            shapes[0][1 + d]
            - ((cotangent.shape[2 + d] - 1) * self.stride[d] - 2 * self.padding[d])
            - self.dilation[d] * (self.weight.shape[2 + d] - 1)
            - 1
            for d in (0, 1)
        ]
        options = (self.stride, self.padding, left, self.groups, self.dilation)
        return (F.conv_transpose2d(cotangent, self.weight, None, *options),)

    def transpose_window(
        self, cotangent: Tensor, window: Window, shapes: tuple[Shape, ...]
    ) -> tuple[tuple[Tensor, Window], ...]:
        part = F.conv_transpose2d(cotangent, self.weight, None, self.stride, 0, 0, self.groups, self.dilation)
        top, left = (
            start * stride - padding
            for start, stride, padding in zip((window.top, window.left), self.stride, self.padding, strict=True)
        )
        # What lies in the padding is no part of the input; where all does, the window is empty.
        (height, width), (tall, wide) = shapes[0][-2:], part.shape[2:]
        first_row, first_column = min(max(top, 0), height), min(max(left, 0), width)
        seen = Window(
            first_row,
            max(min(top + tall, height), first_row),
            first_column,
            max(min(left + wide, width), first_column),
        )
        return ((part[:, :, seen.top - top : seen.bottom - top, seen.left - left : seen.right - left], seen),)


@dataclass(frozen=True, eq=False, kw_only=True)
class Scale(LinearOperation):
    """`weight * x + bias`; None stands for 1 and 0. Sample, weight and bias are broadcast to one shape."""

    weight: Tensor | None = None

    def _map(self, inputs: tuple[Tensor, ...], power: int, *, signed: bool) -> Tensor:
        (x,) = inputs
        if self.weight is not None:
            x = x * _weight(self.weight, power, signed)
        # A bias alone may repeat entries: one channel less the means of three.
        return x if self.bias is None else x.expand_as(x + self.bias)

    def transpose(self, cotangent: Tensor, shapes: tuple[Shape, ...]) -> tuple[Tensor, ...]:
        part = cotangent if self.weight is None else cotangent * self.weight
        return (_sum_to(part, shapes[0]),)

    def transpose_window(
        self, cotangent: Tensor, window: Window, shapes: tuple[Shape, ...]
    ) -> tuple[tuple[Tensor, Window], ...] | None:
        part = cotangent if self.weight is None else cotangent * window.cut(self.weight)
        # Repeated rows or columns make one place of the input seen from everywhere.
        if 1 in shapes[0][-2:]:
            return None
        return ((_sum_to(part, (shapes[0][0], *part.shape[-2:])), window),)


@dataclass(frozen=True, eq=False, kw_only=True)
class AvgPool2d(LinearOperation):
    """Means over windows; zeros of the padding count."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int] = (0, 0)

    @property
    def terms(self) -> int:
        return math.prod(self.kernel)

    def _map(self, inputs: tuple[Tensor, ...], power: int, *, signed: bool) -> Tensor:
        x = F.avg_pool2d(inputs[0], self.kernel, self.stride, self.padding)
        return x * float(self.terms) ** (1 - power)

    def transpose(self, cotangent: Tensor, shapes: tuple[Shape, ...]) -> tuple[Tensor, ...]:
        return self._convolution(cotangent, shapes).transpose(cotangent, shapes)

    def transpose_window(
        self, cotangent: Tensor, window: Window, shapes: tuple[Shape, ...]
    ) -> tuple[tuple[Tensor, Window], ...]:
        return self._convolution(cotangent, shapes).transpose_window(cotangent, window, shapes)

    def _convolution(self, like: Tensor, shapes: tuple[Shape, ...]) -> Conv2d:
        channels = shapes[0][0]
        kernel = like.new_full((channels, 1, *self.kernel), 1 / self.terms)
        return Conv2d(weight=kernel, stride=self.stride, padding=self.padding, groups=channels)


@dataclass(frozen=True, eq=False, kw_only=True)
class Mean(LinearOperation):
    """The mean (or the sum) over some of a sample's dimensions, which count from 0 without the batch.

    `count` is what the sum is divided by, `entries` how many it is of.
    """

    dims: tuple[int, ...]
    keep: bool = False
    count: int = 1
    entries: int

    @property
    def terms(self) -> int:
        return self.entries

    def _map(self, inputs: tuple[Tensor, ...], power: int, *, signed: bool) -> Tensor:
        (x,) = inputs
        found = x.sum([d + 1 for d in self.dims], keepdim=self.keep, dtype=torch.float64)
        return (found / float(self.count) ** power).to(x.dtype)

    def transpose(self, cotangent: Tensor, shapes: tuple[Shape, ...]) -> tuple[Tensor, ...]:
        kept = [1 if d in self.dims else size for d, size in enumerate(shapes[0])]
        return ((cotangent / self.count).reshape(-1, *kept).expand(-1, *shapes[0]),)


@dataclass(frozen=True, eq=False, kw_only=True)
class Rearrange(LinearOperation):
    """Entries in another place: reshape, permute, slice, gather, pad with zeros.

    `places` gives for each output the flat input that it is, -1 for zero; None for a mere reshape.
    """

    shape: Shape
    places: Tensor | None = None

    def to(self, dtype: torch.dtype, device: torch.device | None = None) -> Self:
        return self if self.places is None else replace(self, places=self.places.to(device=device))

    @cached_property
    def copies(self) -> int:
        """In how many places an input stands at most."""
        used = None if self.places is None else self.places[self.places >= 0]
        return 1 if used is None or not len(used) else int(used.bincount().max())

    def _map(self, inputs: tuple[Tensor, ...], power: int, *, signed: bool) -> Tensor:
        (x,) = inputs
        if self.places is None:
            return x.reshape(-1, *self.shape)
        flat = F.pad(rows_of(x), (0, 1))  # place -1 is this zero
        return flat[:, self.places.flatten()].view(-1, *self.shape)

    def transpose(self, cotangent: Tensor, shapes: tuple[Shape, ...]) -> tuple[Tensor, ...]:
        if self.places is None:
            return (cotangent.reshape(-1, *shapes[0]),)
        size = math.prod(shapes[0])
        places = self.places.flatten()
        flat = cotangent.new_zeros(len(cotangent), size + 1)
        flat.index_add_(1, torch.where(places < 0, size, places), rows_of(cotangent))
        return (flat[:, :size].reshape(-1, *shapes[0]),)


@dataclass(frozen=True, eq=False, kw_only=True)
class Add(LinearOperation):
    """The signed sum of two inputs; each is broadcast to the output's shape."""

    signs: tuple[int, int] = (1, 1)

    @property
    def terms(self) -> int:
        return 2

    def _map(self, inputs: tuple[Tensor, ...], power: int, *, signed: bool) -> Tensor:
        first, second = inputs
        return first - second if signed and self.signs[1] < 0 else first + second

    def transpose(self, cotangent: Tensor, shapes: tuple[Shape, ...]) -> tuple[Tensor, ...]:
        signed = (cotangent if sign > 0 else -cotangent for sign in self.signs)
        return tuple(_sum_to(part, shape) for part, shape in zip(signed, shapes, strict=True))

    def transpose_window(
        self, cotangent: Tensor, window: Window, shapes: tuple[Shape, ...]
    ) -> tuple[tuple[Tensor, Window], ...] | None:
        if shapes[0] != shapes[1]:
            return None
        return tuple((cotangent if sign > 0 else -cotangent, window) for sign in self.signs)


@dataclass(frozen=True, eq=False, kw_only=True)
class Concat(LinearOperation):
    """Inputs one after the other along a sample's dimension `dim`, which counts from 0 without the batch."""

    dim: int

    def _map(self, inputs: tuple[Tensor, ...], power: int, *, signed: bool) -> Tensor:
        return torch.cat(inputs, self.dim + 1)

    def transpose(self, cotangent: Tensor, shapes: tuple[Shape, ...]) -> tuple[Tensor, ...]:
        return torch.split(cotangent, [shape[self.dim] for shape in shapes], self.dim + 1)
