"""Forward linear bounds: every node between two linear functions of the input. Cheap where the input is small.

The input is `x = middle + spread u` with u in [-1, 1]. Sizes: `N` boxes, `D` input dimensions; functions are
`(1 + D, N, *shape)`, the constant first. The bounds of activations are those of symbolic intervals.
"""

import torch
from torch import Tensor

from withstand.verification.bounds.backward import Relaxed
from withstand.verification.bounds.crown import MEMORY, activations_of, refine
from withstand.verification.bounds.interval import interval
from withstand.verification.bounds.lines import Lines
from withstand.verification.bounds.receptive_field import rows_of
from withstand.verification.bounds.relaxation import relax
from withstand.verification.bounds.rounding import forward_terms, full_precision, gamma
from withstand.verification.network.activation import ReLU
from withstand.verification.network.network import Network
from withstand.verification.network.operation import Constant, Input, LinearOperation
from withstand.verification.specification.box import Region
from withstand.verification.specification.verdict import Late, never


@torch.no_grad()
def relax_forward(
    network: Network, region: Region, *, tighten: bool = True, memory: int = MEMORY, late: Late = never
) -> Relaxed:
    """Return boxes and lines as `relax_network` does, from forward functions met with intervals.

    The few entries of an activation's input whose sign these leave in doubt can be tightened by going back from them.

    Args:
        network: the captured network.
        region: N regions in the network's precision; of a ball, the box round it is used.
        tighten: go back from what is in doubt.
        memory: bytes that one backward pass may hold.
        late: once it says so, nothing is tightened.
    """
    relaxed = Relaxed(network, region)
    functions: list[tuple[Tensor, Tensor]] = []
    users = activations_of(network)
    with full_precision():
        for place, node in enumerate(network.nodes):
            operation = node.operation
            box = interval(node, relaxed.boxes, region)
            relaxed.boxes.append(box)
            if isinstance(operation, Input):
                functions.append(_start(region))
                continue
            sources = [functions[source] for source in node.inputs]
            if isinstance(operation, Constant):
                functions.append((box.low[None], box.low[None]))
                continue
            if isinstance(operation, LinearOperation):
                low, high = _linear(operation, sources)
                slack = gamma(2 * forward_terms(operation, network.dtype) + len(low), network.dtype) * _reach(
                    relaxed, operation, sources, node.inputs
                )
                functions.append((low, high))
                below = low[0] - low[1:].abs().sum(0) - slack
                above = high[0] + high[1:].abs().sum(0) + slack
                if slack.numel():
                    low[0] -= slack
                    high[0] += slack
                box.meet(below, above)
                if tighten and users[place] and not box.exact:
                    refine(relaxed, place, all(isinstance(user.operation, ReLU) for user in users[place]), memory, late)
                continue
            lines = relax(operation, relaxed.inputs(place))
            relaxed.lines[place] = lines
            if isinstance(lines, Lines):
                (low, high) = sources[0]
                # Where a line falls, what is below comes from what is above.
                falls, drops = lines.low_slope < 0, lines.high_slope < 0
                if bool(falls.any() or drops.any()):
                    low, high = torch.where(falls, high, low), torch.where(drops, low, high)
                low, high = low * lines.low_slope, high * lines.high_slope
                low_shift = torch.zeros_like(lines.high_shift) if lines.low_shift is None else lines.low_shift
                unit = gamma(2, network.dtype)
                low[0] += low_shift - unit * (low.abs().sum(0) + low_shift.abs())
                high[0] += lines.high_shift + unit * (high.abs().sum(0) + lines.high_shift.abs())
                functions.append((low, high))
            else:
                functions.append((box.low[None], box.high[None]))
    return relaxed


def _start(region: Region) -> tuple[Tensor, Tensor]:
    middle, spread = (region.low + region.high) / 2, (region.high - region.low) / 2
    # The two are rounded: a spread that is a little wider keeps both ends inside.
    spread = spread + 2 * torch.finfo(spread.dtype).eps * (middle.abs() + spread)
    size = middle[0].numel()
    unit = torch.eye(size, dtype=middle.dtype, device=middle.device).view(size, 1, *middle.shape[1:])
    function = torch.cat([middle[None], unit * spread])
    return function, function


def _linear(operation: LinearOperation, sources: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Return A+ L + A- U and A+ U + A- L, each entry of the functions being a sample to the operation."""
    deep = max(len(low) for low, _ in sources)
    count = sources[0][0].shape[1]
    stacked = [tuple(_deepen(part, deep).flatten(0, 1) for part in pair) for pair in sources]
    middle = operation.apply(*((low + high) / 2 for low, high in stacked))
    spread = operation.absolute(*((high - low) / 2 for low, high in stacked))
    low = (middle - spread).view(deep, count, *middle.shape[1:])
    high = (middle + spread).view(deep, count, *middle.shape[1:])
    if operation.bias is not None:
        low[0] += operation.bias
        high[0] += operation.bias
    return low, high


def _deepen(function: Tensor, deep: int) -> Tensor:
    if len(function) == deep:
        return function
    return torch.cat([function, function.new_zeros(deep - len(function), *function.shape[1:])])


def _reach(
    relaxed: Relaxed, operation: LinearOperation, sources: list[tuple[Tensor, Tensor]], places: tuple[int, ...]
) -> Tensor:
    """Bound what the sums of an operation are made of, one number a box, shaped to broadcast."""
    sizes = [rows_of(torch.maximum(low.abs().sum(0), high.abs().sum(0))).amax(1) for low, high in sources]
    rows = operation.absolute(*(torch.ones_like(relaxed.boxes[place].low[:1]) for place in places))
    size = torch.stack(sizes).amax(0) * rows.amax()
    if operation.bias is not None:
        size = size + operation.bias.abs().amax()
    return size.view(-1, *[1] * (rows.dim() - 1))
