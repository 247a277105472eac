"""A network in two at one of its layers: what leads to the layer, and what follows from it."""

from dataclasses import replace

import torch
from torch import Tensor

from withstand.core.errors import ConfigError
from withstand.verification.bounds.crown import relax_network
from withstand.verification.network.network import Network, Node
from withstand.verification.network.operation import Input, LinearOperation
from withstand.verification.specification.box import Region


def layers(network: Network) -> list[int]:
    """Return the nodes at which a network falls in two: 0 for the input, then each activation that all paths pass."""
    found = [0]
    for place, node in enumerate(network.nodes[:-1]):
        bent = bool(node.inputs) and not isinstance(node.operation, LinearOperation)
        # A later node that reads an earlier one goes round this one.
        round_it = any(source < place for later in network.nodes[place + 1 :] for source in later.inputs)
        if bent and not round_it:
            found.append(place)
    return found


def check_layer(network: Network, place: int) -> None:
    """Refuse a place at which the network can't be cut.

    Raises:
        ConfigError: naming those at which it can.
    """
    allowed = layers(network)
    if place not in allowed:
        raise ConfigError(f"the network has no layer at node {place}: it can be cut at {', '.join(map(str, allowed))}")


def head(network: Network, place: int) -> Network:
    """Return the network from the input to a layer's values."""
    check_layer(network, place)
    return replace(network, nodes=network.nodes[: place + 1])


def tail(network: Network, place: int) -> Network:
    """Return the network from a layer's values to the output."""
    check_layer(network, place)
    if place == 0:
        return network
    entry = Node(Input(), (), network.nodes[place].shape, network.nodes[place].name)
    rest = tuple(
        replace(node, inputs=tuple(source - place for source in node.inputs)) for node in network.nodes[place + 1 :]
    )
    return replace(network, nodes=(entry, *rest))


def reach(network: Network, place: int, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Return a box that holds a layer's values for every input of a box: the layer's sound spans.

    Args:
        network: in float64.
        place: the layer.
        low: smallest inputs, one sample's shape.
        high: largest inputs.
    """
    if place == 0:
        return low, high
    region = Region.box(low[None].to(torch.float64), high[None].to(torch.float64))
    box = relax_network(head(network, place), region).boxes[-1]
    return box.low[0], box.high[0]
