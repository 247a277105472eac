"""The graph that capture builds up, and the folding of what two operations in a row can be one of."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from withstand.core.errors import ConfigError, DataError
from withstand.verification.bounds.receptive_field import Shape
from withstand.verification.network.capture_layout import FIRST, Layout, source_of, together
from withstand.verification.network.network import Network, Node
from withstand.verification.network.operation import Constant, Conv2d, Input, Linear, Operation, Rearrange, Scale

_MIXED = "an operation on several values mixes the samples of a batch: certificates need each sample on its own"


@dataclass(frozen=True)
class Place:
    """The value of a node, and where the trace has its samples."""

    index: int
    layout: Layout = FIRST


class Builder:
    """Nodes so far.

    Args:
        shape: one input's shape.
    """

    def __init__(self, shape: Shape) -> None:
        self.nodes = [Node(Input(), (), shape, "input")]
        self._hidden: dict[int, Tensor] = {}

    def hide(self, place: Place, where: Tensor) -> Place:
        """Append a value whose entries are -inf at some places, `(*shape)`: zeros stand there.

        Only what asks for `hidden` may read it.
        """
        weight = torch.where(where, 0.0, torch.ones((), dtype=torch.float64))
        found = self.add(Scale(weight=weight), place)
        self._hidden[found.index] = where.expand(self.shape(found))
        return found

    def hidden(self, place: Place) -> Tensor | None:
        """Return where a value is -inf, bool `(*shape)`; None where it is so nowhere."""
        return self._hidden.get(place.index)

    def shape(self, place: Place) -> Shape:
        """Return the shape of one sample there."""
        return self.nodes[place.index].shape

    def add(self, operation: Operation, *inputs: Place) -> Place:
        """Append an operation and return its place.

        Raises:
            DataError: its inputs have unlike numbers of dimensions, which broadcasting would align across samples.
        """
        if len({len(self.shape(place)) for place in inputs}) > 1:
            raise DataError(_MIXED)
        probes = [torch.zeros(1, *self.shape(place), dtype=torch.float64) for place in inputs]
        shape = tuple(operation.forward(*probes).shape[1:])
        name = f"{type(operation).__name__}_{len(self.nodes)}"
        self.nodes.append(Node(operation, tuple(place.index for place in inputs), shape, name))
        return Place(len(self.nodes) - 1)

    def constant(self, value: Tensor | float, shape: Shape) -> Place:
        """Append a constant of one sample's shape."""
        return self.add(Constant(torch.as_tensor(value, dtype=torch.float64).expand(shape)))

    def spread(self, place: Place, shape: Shape) -> Place:
        """Append what repeats a value until it has another shape, as broadcasting does.

        Raises:
            DataError: it does not broadcast so.
        """
        before = self.shape(place)
        if before == shape:
            return place
        if len(before) != len(shape):
            raise DataError(_MIXED)
        return self.moved(place, torch.arange(math.prod(before)).view(before).expand(shape))

    def moved(self, place: Place, places: Tensor) -> Place:
        """Append what takes the entries at some flat places of a value, -1 for zeros."""
        before = self.nodes[place.index]
        if isinstance(before.operation, Rearrange) and before.operation.places is not None:
            # Of a place of a place: one step, and none where it leads back.
            flat = before.operation.places.flatten()
            places = torch.where(places < 0, -1, flat[places.clamp_min(0)])
            return self.moved(Place(before.inputs[0]), places)
        if isinstance(before.operation, Rearrange):
            return self.moved(Place(before.inputs[0]), places)
        mere = torch.equal(places.flatten(), torch.arange(math.prod(before.shape)))
        if mere and tuple(places.shape) == before.shape:
            return place
        found = self.add(Rearrange(shape=tuple(places.shape), places=None if mere else places.contiguous()), place)
        hidden = self.hidden(place)
        if hidden is not None:
            self._hidden[found.index] = hidden.flatten()[places.clamp_min(0)] & (places >= 0)
        return found

    def rearrange(self, target: Callable[..., Any], arguments: Any, options: Any, batch: int) -> Any:
        """Append what an operation does that only moves entries, by having it move their places."""
        found = {value for value in torch.utils._pytree.tree_leaves(arguments) if isinstance(value, Place)}
        if len(found) > 1 or not isinstance(arguments[0], Place):
            raise ConfigError("the network moves entries to places that hang on the input: that has no bounds here")
        (source,) = found
        size = math.prod(self.shape(source))
        marks = self.together(torch.arange(1, batch * size + 1, dtype=torch.float64), source, batch)
        moved = target(*(marks if isinstance(value, Place) else value for value in arguments), **options)
        if isinstance(moved, tuple | list):
            return [self._moved(source, part, batch) for part in moved]
        return self._moved(source, moved, batch)

    def together(self, values: Tensor, place: Place, batch: int) -> Tensor:
        """Return numbers for all entries of all samples in the shape that the trace has there."""
        rows = values.view(batch, *([1] if place.layout == FIRST else []), *self.shape(place))
        return together(rows, place.layout).contiguous()

    def _moved(self, source: Place, marks: Tensor, batch: int) -> Place:
        size = math.prod(self.shape(source))
        layout, places = source_of(marks, batch, size)
        return replace(self.moved(replace(source, layout=FIRST), places), layout=layout)

    def shaped(self, place: Place, shape: Shape) -> Place:
        """Append what gives a value another shape."""
        return self.moved(place, torch.arange(math.prod(shape)).view(shape))

    def aside(self, place: Place, rank: int) -> Place:
        """Return a value of single samples, in at least so many dimensions, as if its samples lay first."""
        shape = (1, *self.shape(place)) if place.layout == FIRST else self.shape(place)
        return self.shaped(replace(place, layout=FIRST), (*[1] * (rank - len(shape)), *shape))

    def back(self, place: Place, layout: Layout) -> Place:
        """Return a value of single samples with the layout that it has."""
        if layout == FIRST:
            return self.shaped(place, self.shape(place)[1:])
        return replace(place, layout=layout)

    def network(self, output: Place, notes: tuple[str, ...]) -> Network:
        """Return what the output needs, the output last."""
        return prune(Network(tuple(self.nodes[: output.index + 1]), torch.float64, notes))


def prune(network: Network) -> Network:
    """Return the network without the nodes that its output does not need."""
    nodes = network.nodes
    needed = {0, len(nodes) - 1}
    for place in range(len(nodes) - 1, 0, -1):
        if place in needed:
            needed.update(nodes[place].inputs)
    order = sorted(needed)
    new = {old: place for place, old in enumerate(order)}
    kept = tuple(replace(nodes[old], inputs=tuple(new[source] for source in nodes[old].inputs)) for old in order)
    return replace(network, nodes=kept)


def fold(network: Network) -> Network:
    """Return the network with each scaling put into what comes before it, where that has no other use."""
    nodes = list(network.nodes)
    uses = [0] * len(nodes)
    for node in nodes:
        for source in node.inputs:
            uses[source] += 1
    for place, node in enumerate(nodes):
        if not isinstance(node.operation, Scale):
            continue
        before = nodes[node.inputs[0]]
        merged = _merge(before, node.operation) if uses[node.inputs[0]] == 1 else None
        if merged is not None:
            nodes[place] = replace(node, operation=merged, inputs=before.inputs, name=before.name)
    return prune(replace(network, nodes=tuple(nodes)))


def _merge(before: Node, scale: Scale) -> Operation | None:
    """Return the operation that is `scale` after `before`, or None where there is none."""
    first = before.operation
    weight = torch.ones((), dtype=torch.float64) if scale.weight is None else scale.weight
    shift = torch.zeros((), dtype=torch.float64) if scale.bias is None else scale.bias
    if isinstance(first, Scale):
        old = torch.ones((), dtype=torch.float64) if first.weight is None else first.weight
        bias = shift if first.bias is None else first.bias * weight + shift
        return Scale(weight=old * weight, bias=bias)
    if not isinstance(first, Linear | Conv2d):
        return None
    rank = len(before.shape)
    channels = before.shape[0] if isinstance(first, Conv2d) else before.shape[-1]
    # One factor a channel, and so one a row of the weight; one a place would not fit.
    wanted = (channels, *[1] * (rank - 1)) if isinstance(first, Conv2d) else (*[1] * (rank - 1), channels)
    try:
        weight, shift = weight.expand(wanted).reshape(channels), shift.expand(wanted).reshape(channels)
    except RuntimeError:
        return None
    side = (channels, 1, 1) if isinstance(first, Conv2d) else (channels,)
    bias = shift.view(side) if first.bias is None else first.bias * weight.view(side) + shift.view(side)
    return replace(first, weight=first.weight * weight.view(-1, *[1] * (first.weight.dim() - 1)), bias=bias)
