"""CROWN over a whole network: bounds of every node that is in doubt, and of linear functions of the output.

Sizes: `N` samples, `K` functions of the output for each. Work is cut into rows that fit the memory given.
"""

import math
from collections.abc import Iterator
from typing import Literal, get_args

import torch
from torch import Tensor

from withstand.core.errors import ConfigError, nearest
from withstand.verification.bounds.backward import Relaxed, Rows, lower_bounds
from withstand.verification.bounds.interval import Box, interval
from withstand.verification.bounds.receptive_field import Shape, Window, rows_of
from withstand.verification.bounds.relaxation import relax
from withstand.verification.bounds.rounding import full_precision, gamma, proven
from withstand.verification.network.activation import ReLU
from withstand.verification.network.network import Network, Node
from withstand.verification.network.operation import Linear, LinearOperation
from withstand.verification.specification.box import Region
from withstand.verification.specification.verdict import Late, never

CrownMethod = Literal["ibp", "crown-ibp", "crown"]

MEMORY = 1 << 29
"""Bytes that one backward pass may hold at once."""

_TILES = 64
_WORTH_TILES = 512


def check_method(method: str, allowed: tuple[str, ...] = get_args(CrownMethod)) -> None:
    """Refuse an unknown method.

    Raises:
        ConfigError: with the nearest name.
    """
    if method not in allowed:
        raise ConfigError(f"method {method!r} is unknown: {nearest(method, allowed)}")


def rows_at_once(network: Network, memory: int = MEMORY) -> int:
    """Return how many rows a backward pass may take together.

    At the widest node, the coefficients before and after, both signs and the gathered lines are alive.
    """
    widest = max(int(torch.Size(node.shape).numel()) for node in network.nodes)
    return max(1, memory // (8 * widest * torch.finfo(network.dtype).bits // 8))


def relax_network(
    network: Network,
    region: Region,
    *,
    intermediate: Literal["ibp", "crown"] = "crown",
    memory: int = MEMORY,
    differentiable: bool = False,
    late: Late = never,
) -> Relaxed:
    """Return boxes of all nodes and lines of all activations for a region in the network's precision.

    Args:
        network: the captured network.
        region: N inputs' regions.
        intermediate: how the activations' inputs are bounded. "crown" goes back from every one that intervals
            leave in doubt; where they don't, the relaxation is exact anyway. "ibp" goes back from the first layer
            alone, over a ball and where an input stands in several places.
        memory: bytes that one backward pass may hold.
        differentiable: keep gradients to the network's tensors; of "ibp" alone.
        late: once it says so, what is left keeps the bounds of intervals.
    """
    if differentiable and intermediate != "ibp":
        raise ConfigError('only intermediate="ibp" is differentiable')
    relaxed = Relaxed(network, region)
    users = activations_of(network)
    with full_precision(), torch.set_grad_enabled(differentiable):
        for place, node in enumerate(network.nodes):
            relaxed.boxes.append(interval(node, relaxed.boxes, region))
            if node.inputs and not isinstance(node.operation, LinearOperation):
                relaxed.lines[place] = relax(node.operation, relaxed.inputs(place))
            bent, box = users[place], relaxed.boxes[place]
            if not bent or box.exact:
                continue
            if intermediate == "crown":
                refine(relaxed, place, all(isinstance(user.operation, ReLU) for user in bent), memory, late)
            elif box.linear and region.center is not None:
                # Of a first layer over copies of inputs intervals know nothing of the ball: the dual norm is taken of
                # what each entry is of the input itself.
                refine(relaxed, place, False, memory, late)
    return relaxed


def activations_of(network: Network) -> list[list[Node]]:
    """Return for each node the nodes without a linear operation that take its value."""
    users: list[list[Node]] = [[] for _ in network.nodes]
    for node in network.nodes:
        if not isinstance(node.operation, LinearOperation):
            for source in node.inputs:
                users[source].append(node)
    return users


def refine(relaxed: Relaxed, place: int, only_unstable: bool, memory: int, late: Late = never) -> None:
    """Tighten one node's box by going back from each entry in doubt, in both directions, until it is late."""
    box = relaxed.boxes[place]
    low, high = rows_of(box.low), rows_of(box.high)
    doubt = (low < 0) & (high > 0) if only_unstable else torch.ones_like(low, dtype=torch.bool)
    samples, entries = doubt.nonzero(as_tuple=True)
    if not len(samples):
        return
    low, high = low.clone(), high.clone()
    step = max(1, rows_at_once(relaxed.network, memory) // 2)
    # Down and up to the next number of this precision.
    unit_round = torch.finfo(low.dtype).eps
    for window, chosen in _tiles(box.low.shape[1:], entries):
        sides = box.low.shape[1:] if window is None else (box.low.shape[1], *window.sides)
        for rows in torch.split(chosen, step):
            if late():
                break
            sample, entry = samples[rows], entries[rows]
            unit = low.new_zeros(len(rows), math.prod(sides))
            unit.scatter_(1, _place(entry, box.low.shape[1:], window)[:, None], 1.0)
            both = torch.cat([unit, -unit]).view(-1, *sides)
            found = lower_bounds(relaxed, place, both, Rows(torch.cat([sample, sample])), window)
            below, above = found[: len(rows)], -found[len(rows) :]
            low[sample, entry] = torch.maximum(low[sample, entry], (below - unit_round * below.abs()).to(low))
            high[sample, entry] = torch.minimum(high[sample, entry], (above + unit_round * above.abs()).to(high))
    box.low, box.high = low.view(box.low.shape), high.view(box.high.shape)


def _tiles(shape: Shape, entries: Tensor) -> Iterator[tuple[Window | None, Tensor]]:
    """Give windows that hold all of a node's entries, each with the places of those in it; None is the whole node.

    Entries that lie together see the same places, and share a backward pass over these alone. Few entries are not
    worth a pass for each window.
    """
    everything = torch.arange(len(entries), device=entries.device)
    if len(shape) != 3 or shape[1] * shape[2] < _TILES or len(entries) < _WORTH_TILES:
        yield None, everything
        return
    _, height, width = shape
    tall, wide = (math.ceil(side / math.isqrt(_TILES)) for side in (height, width))
    row, column = entries // width % height, entries % width
    tile = row // tall * math.ceil(width / wide) + column // wide
    for number in sorted(set(tile.tolist())):
        top, left = number // math.ceil(width / wide) * tall, number % math.ceil(width / wide) * wide
        window = Window(top, min(top + tall, height), left, min(left + wide, width))
        yield window, everything[tile == number]


def _place(entry: Tensor, shape: Shape, window: Window | None) -> Tensor:
    """Return the flat places in a window of entries of the whole node."""
    if window is None:
        return entry
    _, height, width = shape
    channel, row, column = entry // (height * width), entry // width % height, entry % width
    tall, wide = window.sides
    return (channel * tall + row - window.top) * wide + column - window.left


def output_bounds(
    relaxed: Relaxed,
    weight: Tensor,
    *,
    memory: int = MEMORY,
    differentiable: bool = False,
    late: Late = never,
) -> Tensor:
    """Return lower bounds of linear functions of the output, float64 `(N, K)`; -inf for what came too late.

    Args:
        relaxed: the network's relaxation over N regions.
        weight: one row a function, `(N, K, outputs)`.
        memory: bytes that one backward pass may hold.
        differentiable: keep gradients to the network's tensors.
        late: once it says so, no more bounds are computed.
    """
    samples, functions, outputs = weight.shape
    network = relaxed.network
    last = len(network.nodes) - 1
    weight = weight.to(network.dtype)
    at_once = rows_at_once(network, memory)
    parts = []
    with full_precision(), torch.set_grad_enabled(differentiable):
        step = max(1, at_once // max(1, functions))
        for first in range(0, samples, step):
            if late():
                parts.append(weight.new_full((samples - first, functions), -torch.inf, dtype=torch.float64))
                break
            few = take(relaxed, slice(first, first + step))
            parts.append(
                torch.cat(
                    [
                        lower_bounds(few, last, part.reshape(-1, outputs), Rows(each=part.shape[1])).view(
                            part.shape[:2]
                        )
                        for part in torch.split(weight[first : first + step], at_once, 1)
                    ],
                    1,
                )
            )
    return torch.cat(parts) if parts else weight.new_zeros(0, functions, dtype=torch.float64)


def interval_bounds(relaxed: Relaxed, weight: Tensor, *, differentiable: bool = False) -> Tensor:
    """Return what intervals alone say of linear functions of the output, float64 `(N, K)`.

    A last matrix is multiplied into the functions first, so that margins are bounded and not differences of bounds.

    Args:
        relaxed: the network's relaxation over N regions.
        weight: one row a function, `(N, K, outputs)`.
        differentiable: keep gradients to the network's tensors.
    """
    with torch.set_grad_enabled(differentiable):
        return _interval_bounds(relaxed, weight)


def _interval_bounds(relaxed: Relaxed, weight: Tensor) -> Tensor:
    network = relaxed.network
    last = network.nodes[-1]
    weight = weight.double()
    shift = weight.new_zeros(weight.shape[:2])
    rounded = 0 * shift
    box = relaxed.boxes[-1]
    if isinstance(last.operation, Linear) and len(last.shape) == 1:
        # The matrix may stand for one in float64 that was rounded to the network's precision.
        matrix, before = last.operation.weight.double(), relaxed.boxes[last.inputs[0]]
        rounded = weight.abs() @ matrix.abs() @ torch.maximum(before.low.abs(), before.high.abs()).double()[..., None]
        rounded = rounded.squeeze(-1)
        if last.operation.bias is not None:
            shift = weight @ last.operation.bias.double()
            rounded = rounded + weight.abs() @ last.operation.bias.abs().double()
        weight, box = weight @ matrix, before
    low, high = box.low.double()[..., None], box.high.double()[..., None]
    size = weight.abs() @ torch.maximum(low.abs(), high.abs())
    found = weight @ ((low + high) / 2) - weight.abs() @ ((high - low) / 2)
    found = found - gamma(2 * weight.shape[2], torch.float64) * size
    # The matrix is rounded to the network's precision, its products with the functions to double.
    shift = shift - (gamma(1, network.dtype) / 4 + gamma(network.classes, torch.float64)) * rounded
    return proven(found.squeeze(-1) + shift)


def take(relaxed: Relaxed, rows: slice | Tensor) -> Relaxed:
    """Return the relaxation of some samples."""
    index = torch.arange(len(relaxed.region), device=relaxed.region.low.device)[rows]
    if len(index) == len(relaxed.region) and isinstance(rows, slice):
        return relaxed
    boxes = [Box(box.low[index], box.high[index]) for box in relaxed.boxes]
    lines = {place: found.take(index) for place, found in relaxed.lines.items()}
    return Relaxed(relaxed.network, relaxed.region[index], boxes, lines, most=dict(relaxed.most))
