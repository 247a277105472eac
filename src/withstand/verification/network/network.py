"""A captured network: a small graph of operations without batch norms, modes, or Python in between."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from withstand.core.errors import DataError
from withstand.verification.bounds.receptive_field import Shape
from withstand.verification.network.operation import Constant, Input, Operation


@dataclass(frozen=True, eq=False)
class Node:
    """One operation in its place.

    Attributes:
        operation: what is computed.
        inputs: places of the nodes that it is computed of.
        shape: a sample's shape.
        name: for messages.
    """

    operation: Operation
    inputs: tuple[int, ...]
    shape: Shape
    name: str


@dataclass(frozen=True, eq=False)
class Network:
    """Nodes in topological order; the first is the input, the last is the output.

    Attributes:
        nodes: the graph. Every node but the last is used by a later one.
        dtype: of all its tensors.
        notes: what capture left out, in words: "softmax at the end stripped".
    """

    nodes: tuple[Node, ...]
    dtype: torch.dtype = torch.float64
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> Shape:
        """One input's shape."""
        return self.nodes[0].shape

    @property
    def classes(self) -> int:
        """The number of outputs.

        Raises:
            DataError: the output is not one vector a sample.
        """
        if len(self.nodes[-1].shape) != 1:
            raise DataError(f"the network's output must be (N, classes), not (N, *{self.nodes[-1].shape})")
        return self.nodes[-1].shape[0]

    def __call__(self, x: Tensor) -> Tensor:
        """Return outputs for inputs `(B, *shape)`."""
        return self.values(x)[-1]

    def values(self, x: Tensor) -> list[Tensor]:
        """Return every node's value for inputs `(B, *shape)`."""
        values: list[Tensor] = []
        for node in self.nodes:
            if isinstance(node.operation, Input):
                value = x.to(self.dtype)
            else:
                value = node.operation.forward(*(values[place] for place in node.inputs))
            values.append(value.expand(len(x), *node.shape) if isinstance(node.operation, Constant) else value)
        return values

    def to(self, dtype: torch.dtype, device: torch.device | None = None) -> "Network":
        """Return the same network in another precision, on another device."""
        nodes = tuple(replace(node, operation=node.operation.to(dtype, device)) for node in self.nodes)
        return replace(self, nodes=nodes, dtype=dtype)


def sequential(shape: Shape, operations: Sequence[Operation], *, dtype: torch.dtype = torch.float64) -> Network:
    """Return the network that applies one operation after the other to inputs of `shape`."""
    probe = torch.zeros(1, *shape, dtype=dtype)
    nodes = [Node(Input(), (), tuple(shape), "input")]
    for place, operation in enumerate(operations):
        moved = operation.to(dtype)
        probe = moved.forward(probe)
        nodes.append(Node(moved, (place,), tuple(probe.shape[1:]), f"{type(operation).__name__}_{place + 1}"))
    return Network(tuple(nodes), dtype)
