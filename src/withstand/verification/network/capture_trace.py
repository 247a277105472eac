"""Tracing: the ATen operations that a model runs on an example, with changes in place written as new values.

A view that is changed changes what it is a view of, and all other views of that. Functionalisation writes every such
change as an operation that gives the whole tensor anew, so that a graph of values says it all.
"""

from collections.abc import Callable

import torch
from torch import Tensor, fx

from withstand.core.errors import ConfigError
from withstand.core.victims.answers import NetworkError


def traced(run: Callable[..., Tensor], *example: Tensor) -> fx.GraphModule:
    """Return the graph of what `run` does on an example, nothing in it changed in place.

    Args:
        run: gives one tensor.
        example: its arguments; only the operations that meet their values are followed.

    Raises:
        ConfigError: a branch on the values of the example, or a change that cannot be followed.
    """
    from torch.fx.experimental.proxy_tensor import make_fx
    from torch.nn.attention import SDPBackend, sdpa_kernel

    try:
        with sdpa_kernel(SDPBackend.MATH):  # attention as products and a softmax, on every device
            graph = make_fx(torch.func.functionalize(run, remove="mutations"), tracing_mode="real")(*example)
            if any(step.op == "call_function" and _changes(step.target) for step in graph.graph.nodes):
                # What torch's own operations change inside is written anew when their parts are traced.
                graph = make_fx(torch.func.functionalize(graph, remove="mutations"), tracing_mode="real")(*example)
    except (RuntimeError, NetworkError) as error:  # a victim tells its network's errors in its own words
        if "data-dependent" in f"{error} {error.__cause__}":
            raise ConfigError(
                "the network branches on the values of its input: only a fixed graph can be certified"
            ) from None
        raise
    for step in _changed(graph):
        name = str(step.target).removeprefix("aten.").partition(".")[0]
        raise ConfigError(
            f"the network changes a tensor in place by {name}, which tracing cannot follow: a buffer, say, or a "
            "constant that the next call would see changed"
        )
    graph.graph.eliminate_dead_code()
    return graph


def _changed(graph: fx.GraphModule) -> list[fx.Node]:
    """Return the steps that change in place a tensor that others may hold."""
    return [
        step
        for step in graph.graph.nodes
        if step.op == "call_function" and _changes(step.target) and not _alone(step.args[0])
    ]


def _alone(value: object) -> bool:
    """Say whether one step makes a value of its own, and one other reads it: what that writes is met by nobody else."""
    if not isinstance(value, fx.Node) or value.op != "call_function" or len(value.users) > 1:
        return False
    schema = getattr(value.target, "_schema", None)
    return schema is not None and all(found.alias_info is None for found in schema.returns)


def _changes(target: object) -> bool:
    schema = getattr(target, "_schema", None)
    return schema is not None and bool(schema.is_mutable)
