"""Capture: from any model in eval mode to a `Network`, by running it once on an example and watching.

What runs is the model's own Python, so that branches on shapes or types are no obstacle. Constants are folded in
float64. The result is held against the model on random inputs before it is handed out.
"""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from withstand.core.errors import ConfigError, DataError
from withstand.core.random import derive
from withstand.core.victim import Victim
from withstand.verification.capture_graph import Builder, Place, fold
from withstand.verification.capture_rules import REARRANGING, RULES, unsupported
from withstand.verification.network import Network

BATCH = 3
"""Samples of the example: more than one, so that a dimension that follows the batch is told from a fixed one."""

_SOFTMAX = {"_softmax": "softmax", "_log_softmax": "log-softmax"}
_FILLING = {"new_zeros", "new_ones", "new_full", "zeros_like", "ones_like", "full_like"}
"""Operations that look at nothing of their input but its shape."""

_SAME = {"clone", "detach", "alias", "lift_fresh_copy", "contiguous", "dropout"}


def capture(model: nn.Module | Victim | Callable[[Tensor], Tensor], x: Tensor, *, check: bool = True) -> Network:
    """Return the network that `model` is in eval mode, in float64.

    Args:
        model: gives one tensor for a batch; a `Victim` is captured with its normalisation.
        x: inputs, `(N, *shape)` with N at least 1; only their shape, type and device matter.
        check: compare the result with the model on random inputs.

    Raises:
        ConfigError: a module in train mode, or an operation without bounds, with the nearest rewrite.
        DataError: the output mixes samples, or is not one tensor.
    """
    if not len(x) or not x.is_floating_point():
        raise DataError(f"capture needs at least one floating input (N, ...), not {x.dtype} {tuple(x.shape)}")
    victim = model if isinstance(model, Victim) else Victim(model)
    if isinstance(victim.model, nn.Module):
        for name, module in victim.model.named_modules():
            if module.training:
                raise ConfigError(
                    f"{name or 'the model'} is in train mode: call eval() first; only a fixed net is proven"
                )
    draws = torch.Generator().manual_seed(derive("capture"))
    unit = torch.rand(BATCH, *x.shape[1:], generator=draws, dtype=torch.float64)
    example = (victim.low + unit * (victim.high - victim.low)).to(x)
    with victim.held(), torch.no_grad():
        graph = _trace(victim, example)
        network = read(graph, tuple(x.shape[1:])).to(torch.float64, x.device)
        if check:
            _compare(network, victim, example)
    return network


def _trace(victim: Victim, example: Tensor) -> fx.GraphModule:
    from torch.fx.experimental.proxy_tensor import make_fx

    def run(x: Tensor) -> Tensor:
        output = victim(x)
        if not isinstance(output, Tensor):
            raise DataError(f"capture needs a model that gives one tensor, not {type(output).__name__}")
        return output

    try:
        return make_fx(run, tracing_mode="real")(example)
    except RuntimeError as error:
        if "data-dependent" not in str(error):
            raise
        raise ConfigError(
            "the network branches on the values of its input: only a fixed graph can be certified"
        ) from None


def _compare(network: Network, victim: Victim, example: Tensor) -> None:
    """Refuse a capture that differs from the model; an in-place change of a view could cause that."""
    wanted = victim(example.clone())
    assert isinstance(wanted, Tensor)
    found = network(example)
    for note in network.notes:
        if note.startswith("softmax"):
            found = found.softmax(-1)
        elif note.startswith("log-softmax"):
            found = found.log_softmax(-1)
    off = (found - wanted).abs().max().item() if found.shape == wanted.shape else float("inf")
    if not off <= 1e-4 * max(1.0, wanted.abs().max().item()):
        raise ConfigError(f"the captured network differs from the model by {off:.3g}: does it change views in place?")


def read(graph: fx.GraphModule, shape: tuple[int, ...], given: Sequence[Tensor] = ()) -> Network:
    """Turn a trace into a network, in float64.

    Args:
        graph: of ATen operations, on `given` and then on the input.
        shape: one input's.
        given: values of the trace's first arguments; the network's gradients go back to them.
    """
    # A value is a `Place`, a constant tensor, or a list of them.
    builder, constants = Builder(shape), iter(given)
    known: dict[fx.Node, Any] = {}
    notes: list[str] = []
    for step in graph.graph.nodes:
        if step.op == "placeholder":
            known[step] = next(constants, Place(0))
        elif step.op == "get_attr":
            known[step] = getattr(graph, step.target).detach().cpu()
        elif step.op == "call_function":
            known[step] = _call(builder, step, known, notes)
        elif step.op == "output":
            output = known.get(step.args[0])
            if not isinstance(output, Place):
                raise DataError("the model's output does not depend on its input")
            return fold(builder.network(output, tuple(notes)))
    raise DataError("the model gives no output")


def _call(builder: Builder, step: fx.Node, known: dict[fx.Node, Any], notes: list[str]) -> Any:
    arguments: Any = fx.map_arg(step.args, known.__getitem__)
    options: Any = fx.map_arg(step.kwargs, known.__getitem__)
    if step.target is operator.getitem:
        return arguments[0][arguments[1]] if isinstance(arguments[0], list) else arguments[0]
    if not any(isinstance(known[source], Place) for source in step.all_input_nodes):
        if torch.Tag.nondeterministic_seeded in getattr(step.target, "tags", ()):
            raise ConfigError(f"the network draws at random ({step.name}): only a fixed net can be certified")
        found = step.target(*_double(arguments), **_double(options))  # type: ignore[operator]
        return list(found) if isinstance(found, tuple) else found.cpu()
    overload = str(step.target).removeprefix("aten.").partition(".")[0]
    name = overload.rstrip("_") if not overload.startswith("_") else overload
    if name in _FILLING:
        like = torch.zeros(BATCH, *builder.shape(arguments[0]), dtype=torch.float64)
        return step.target(like, *arguments[1:], **{**options, "device": None})  # type: ignore[operator]
    shape = _shape(step)
    if name in _SAME or (name == "_to_copy" and _floating(step)):
        return arguments[0]
    if name in _SOFTMAX:
        if [user.op for user in step.users] != ["output"] or arguments[1] % (len(shape) + 1) != len(shape):
            raise unsupported(f"a {_SOFTMAX[name]} that is not the last step")
        notes.append(f"{_SOFTMAX[name]} at the end stripped: classes rank alike by what it is given")
        return arguments[0]
    if name in REARRANGING:
        return builder.rearrange(step.target, arguments, options, BATCH)  # type: ignore[arg-type]
    if name not in RULES:
        raise unsupported(name)
    place = RULES[name](builder, arguments, options, shape)
    if builder.shape(place) != shape:
        raise unsupported(f"{name} of this form")
    if overload.endswith("_") and not overload.startswith("_"):
        known[step.all_input_nodes[0]] = place
    return place


def _shape(step: fx.Node) -> tuple[int, ...]:
    """Return the shape of one sample of a step's (first) output."""
    value = step.meta["val"]
    first = value[0] if isinstance(value, tuple | list) else value
    if first.dim() < 1 or first.shape[0] != BATCH:
        raise DataError(f"{step.name} mixes the samples of a batch: certificates need each sample on its own")
    return tuple(first.shape[1:])


def _floating(step: fx.Node) -> bool:
    return bool(step.meta["val"].is_floating_point())


def _double(arguments: Any) -> Any:
    """Return constants in float64, so that folding them rounds nothing that matters."""
    return torch.utils._pytree.tree_map_only(
        Tensor, lambda value: value.double() if value.is_floating_point() else value, arguments
    )
