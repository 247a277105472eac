"""Interval bound propagation (Gowal et al., 2018): from a box at each operation's input to a box at its output.

Sizes: `N` samples. Boxes are `(N, *shape)`. The first layer of a ball is bounded by the dual norm instead, as long as
each of its inputs is one of the network's own: a norm of copies is none of the input's.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from withstand.verification.bounds.receptive_field import rows_of
from withstand.verification.bounds.rounding import forward_terms, gamma, proven
from withstand.verification.network.activation import Bent
from withstand.verification.network.network import Node
from withstand.verification.network.operation import (
    Add,
    Concat,
    Constant,
    Conv2d,
    Input,
    Linear,
    LinearOperation,
    Mean,
    Rearrange,
    Scale,
)
from withstand.verification.specification.box import Region


@dataclass(eq=False)
class Box:
    """Bounds of one node's values.

    Attributes:
        low: `(N, *shape)`.
        high: `(N, *shape)`.
        exact: no box could be smaller (in exact arithmetic).
        linear: the node is a linear function of the network's input.
        reach: how far each entry moves when its input moves by 1, where the node is the network's input, only scaled
            and put elsewhere, no input more than once; `(N, *shape)`. None elsewhere.
        center: the value at the ball's centre, where `reach` is given and the region is a ball.
        off: how far rounding may have carried the centre, `(N, *shape)`.
    """

    low: Tensor
    high: Tensor
    exact: bool = False
    linear: bool = False
    reach: Tensor | None = None
    center: Tensor | None = None
    off: Tensor | None = None

    @property
    def size(self) -> Tensor:
        """The largest absolute value, `(N,)`."""
        return rows_of(torch.maximum(self.low.abs(), self.high.abs())).amax(1)

    def meet(self, low: Tensor, high: Tensor) -> None:
        """Shrink to what both boxes hold; what is no finite number says nothing."""
        self.low = torch.maximum(self.low, proven(low))
        self.high = torch.minimum(self.high, -proven(-high))


def interval(node: Node, boxes: list[Box], region: Region) -> Box:
    """Return the box of one node's values from those of its inputs.

    Args:
        node: the node.
        boxes: of all nodes before it.
        region: the inputs, in the network's precision.
    """
    operation = node.operation
    if isinstance(operation, Input):
        return Box(region.low, region.high, True, True, torch.ones_like(region.low), region.center)
    if isinstance(operation, Constant):
        value = operation.value.expand(len(region), *node.shape)
        # In float32 it may stand for a number of float64.
        room = gamma(1, value.dtype) / 8 * value.abs() if value.dtype == torch.float32 else 0.0
        return Box(value - room, value + room, True, True)
    inputs = [boxes[place] for place in node.inputs]
    if isinstance(operation, LinearOperation):
        return _linear(node, operation, inputs, region)
    if not isinstance(operation, Bent):
        raise TypeError(f"{type(operation).__name__} has no interval bounds")
    return Box(*operation.span(*((box.low, box.high) for box in inputs)))


def _linear(node: Node, operation: LinearOperation, inputs: list[Box], region: Region) -> Box:
    slack = _slack(operation, inputs)
    if isinstance(operation, Rearrange | Concat):
        # Nothing is computed, nothing is rounded.
        box = Box(operation.forward(*(box.low for box in inputs)), operation.forward(*(box.high for box in inputs)))
    elif isinstance(operation, Scale | Add | Mean):
        box = Box(*_ends(operation, inputs))
    else:
        middle = operation.forward(*((box.low + box.high) / 2 for box in inputs))
        spread = operation.absolute(*((box.high - box.low) / 2 for box in inputs))
        box = Box(middle - spread - slack, middle + spread + slack)
    box.linear = all(before.linear for before in inputs)
    reach = inputs[0].reach
    if reach is None or not isinstance(operation, Linear | Conv2d | Scale | Rearrange):
        return box
    box.exact = True
    if isinstance(operation, Scale | Rearrange):
        # Copies are each bounded exactly, but no longer free of each other.
        copied = operation.copies > 1 if isinstance(operation, Rearrange) else node.shape != reach.shape[1:]
        if not copied:
            box.reach = operation.absolute(reach) * (1 + gamma(1, reach.dtype))
            box.center = None if inputs[0].center is None else operation.forward(inputs[0].center)
            off = torch.zeros_like(reach) if inputs[0].off is None else inputs[0].off
            box.off = operation.absolute(off) * (1 + gamma(1, reach.dtype)) + slack
    elif inputs[0].center is not None and region.eps is not None:
        around = operation.forward(inputs[0].center)
        eps = region.eps.view(-1, *[1] * (around.dim() - 1))
        reached = eps * _dual_norm(operation, reach[:1], region)
        if inputs[0].off is not None:
            reached = reached + operation.absolute(inputs[0].off)
        reached = reached * (1 + gamma(operation.terms, around.dtype)) + slack
        box.meet(around - reached, around + reached)
    return box


def _ends(operation: Scale | Add | Mean, inputs: list[Box]) -> tuple[Tensor, Tensor]:
    """Return the ends of what is computed entry by entry, or is a plain sum, each off by a rounding of its own size.

    A sum of exponentials, or of squares, stays above 0 so, however large its other end is.
    """
    low, high = inputs[0].low, inputs[0].high
    factor = 2 * gamma(forward_terms(operation, low.dtype), low.dtype)
    if isinstance(operation, Mean):
        sizes = (operation.apply(side.abs()) for side in (low, high))
        ends = (operation.apply(side) for side in (low, high))
    elif isinstance(operation, Add):
        others = (inputs[1].low, inputs[1].high) if operation.signs[1] > 0 else (-inputs[1].high, -inputs[1].low)
        sizes = (side.abs() + other.abs() for side, other in zip((low, high), others, strict=True))
        ends = (side + other for side, other in zip((low, high), others, strict=True))
    else:
        if operation.weight is not None:
            first, last = operation.weight * low, operation.weight * high
            rises = operation.weight >= 0
            low, high = torch.where(rises, first, last), torch.where(rises, last, first)
        bias = low.new_zeros(()) if operation.bias is None else operation.bias
        sizes, ends = (side.abs() + bias.abs() for side in (low, high)), (side + bias for side in (low, high))
    (below, above), (small, large) = ends, sizes
    return below - factor * small, above + factor * large


def _slack(operation: LinearOperation, inputs: list[Box]) -> Tensor | float:
    """Return how far the computed middle and spread can be off, broadcast to the output."""
    factor = gamma(forward_terms(operation, inputs[0].low.dtype), inputs[0].low.dtype)
    if isinstance(operation, Rearrange | Concat):
        return 0.0
    if isinstance(operation, Linear | Scale):
        size = operation.absolute(torch.maximum(inputs[0].low.abs(), inputs[0].high.abs()))
    else:
        # For convolutions a bound of the sum's size is enough: their sums are short.
        rows = operation.absolute(*(torch.ones_like(box.low[:1]) for box in inputs))
        most = torch.stack([box.size for box in inputs]).amax(0)
        size = rows * most.view(-1, *[1] * (rows.dim() - 1))
    if operation.bias is not None:
        size = size + operation.bias.abs()
    return 2 * factor * size


def _dual_norm(operation: Linear | Conv2d, reach: Tensor, region: Region) -> Tensor:
    """Return how far each output moves at most when the network's input moves by 1 in the region's norm.

    `(1, *shape)`. Every input of the operation is another one of the network's, moved by its reach.
    """
    if region.norm == "l2":
        return operation.absolute(reach.square(), power=2).sqrt()
    if isinstance(operation, Linear):
        return (operation.weight.abs() * reach.flatten(0, -2).amax(0)).amax(1)
    # A bound: at the border some of the kernel meets only padding.
    return (operation.weight.abs().amax((1, 2, 3)) * reach.amax()).view(1, -1, 1, 1)
