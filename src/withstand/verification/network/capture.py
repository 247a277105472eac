"""Capture: from any model in eval mode to a `Network`, by running it once on an example and watching.

What runs is the model's own Python, so that branches on shapes or types are no obstacle. Constants have the values that
the model's own arithmetic gives them: what is computed of constants alone is computed in their own precision, and a
number of Python is what the operation's precision makes of it. The result is held against the model on many inputs
before it is handed out.
"""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from withstand.core.errors import ConfigError, DataError
from withstand.core.random import derive
from withstand.core.victim import Victim
from withstand.verification.box import Region
from withstand.verification.network.capture_bends import BENDS
from withstand.verification.network.capture_check import compare
from withstand.verification.network.capture_graph import Builder, Place, fold
from withstand.verification.network.capture_rules import LINEAR, REARRANGING, unsupported
from withstand.verification.network.capture_trace import traced
from withstand.verification.network.capture_writes import WRITES, write
from withstand.verification.network.network import Network

BATCH = 3
"""Samples of the example: more than one, so that a dimension that follows the batch is told from a fixed one."""

RULES = LINEAR | BENDS
"""What each operation is, by name."""

_SOFTMAX = {"_softmax": "softmax", "_log_softmax": "log-softmax"}
_FILLING = {"new_zeros", "new_ones", "new_full", "zeros_like", "ones_like", "full_like"}
"""Operations that look at nothing of their input but its shape."""

_SAME = {"clone", "detach", "alias", "lift_fresh_copy", "contiguous", "dropout"}


def capture(model: nn.Module | Victim | Callable[[Tensor], Tensor], x: Tensor, *, check: bool = True) -> Network:
    """Return the network that `model` is in eval mode, in float64.

    Args:
        model: gives one tensor for a batch; a `Victim` is captured with its normalisation.
        x: inputs, `(N, *shape)` with N at least 1; only their shape, type and device matter.
        check: compare the result with the model at corners of the valid range, and at points inside.

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
            valid = torch.full((2, 1, *x.shape[1:]), victim.low, dtype=torch.float64, device=x.device)
            valid[1] = victim.high
            compare(network, victim, Region.box(valid[0], valid[1]), x.dtype)
    return network


def _trace(victim: Victim, example: Tensor) -> fx.GraphModule:
    def run(x: Tensor) -> Tensor:
        output = victim(x.clone())  # what changes its input changes a copy
        if not isinstance(output, Tensor):
            raise DataError(f"capture needs a model that gives one tensor, not {type(output).__name__}")
        return output

    return traced(run, example)


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
            value = getattr(graph, step.target)
            known[step] = value.detach().cpu() if isinstance(value, Tensor) else value
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
        if not isinstance(arguments[0], list) and arguments[1]:
            raise unsupported(f"more than the first outcome of {step.all_input_nodes[0].name}")
        return arguments[0][arguments[1]] if isinstance(arguments[0], list) else arguments[0]
    if not any(isinstance(known[source], Place) for source in step.all_input_nodes):
        _check_fixed(step)
        found = step.target(*arguments, **options)  # type: ignore[operator]
        return list(found) if isinstance(found, tuple) else found.cpu()
    name = str(step.target).removeprefix("aten.").partition(".")[0]
    if name in _FILLING:
        like = torch.zeros(BATCH, *builder.shape(arguments[0]), dtype=_dtype(step.all_input_nodes[0]))
        return step.target(like, *arguments[1:], **{**options, "device": None})  # type: ignore[operator]
    shape = _shape(step)
    if name in _SAME or (name == "_to_copy" and _floating(step)):
        _check_cast(step)
        return arguments[0]
    if name in _SOFTMAX:
        if [user.op for user in step.users] != ["output"] or arguments[1] % (len(shape) + 1) != len(shape):
            raise unsupported(f"a {_SOFTMAX[name]} that is not the last step")
        notes.append(f"{_SOFTMAX[name]} at the end stripped: classes rank alike by what it is given")
        return arguments[0]
    if name in RULES or name == "fill":
        arguments, options = (as_computed(value, _dtype(step)) for value in (arguments, options))
    if name in WRITES:
        return write(builder, name, step.target, arguments, shape, BATCH)  # type: ignore[arg-type]
    if name in REARRANGING:
        return builder.rearrange(step.target, arguments, options, BATCH)  # type: ignore[arg-type]
    if name not in RULES:
        _check_fixed(step)
        raise unsupported(name)
    place = RULES[name](builder, arguments, options, shape)
    if builder.shape(place) != shape:
        raise unsupported(f"{name} of this form")
    return place


def _check_fixed(step: fx.Node) -> None:
    if torch.Tag.nondeterministic_seeded in getattr(step.target, "tags", ()):
        raise ConfigError(f"the network draws at random ({step.name}): only a fixed net can be certified")


def _shape(step: fx.Node) -> tuple[int, ...]:
    """Return the shape of one sample of a step's (first) output."""
    value = step.meta["val"]
    first = value[0] if isinstance(value, tuple | list) else value
    if first.dim() < 1 or first.shape[0] != BATCH:
        raise DataError(f"{step.name} mixes the samples of a batch: certificates need each sample on its own")
    return tuple(first.shape[1:])


def _floating(step: fx.Node) -> bool:
    return bool(step.meta["val"].is_floating_point())


def _check_cast(step: fx.Node) -> None:
    """Refuse a cast to fewer digits than float32 has, or than the value had: the network would lose the rounding."""
    given, found = (torch.finfo(node.meta["val"].dtype).eps for node in (step.all_input_nodes[0], step))
    if found > max(given, torch.finfo(torch.float32).eps):
        raise unsupported(f"a cast to {str(step.meta['val'].dtype).removeprefix('torch.')}")


def _dtype(step: fx.Node) -> torch.dtype:
    """Return the precision of a step's (first) output."""
    value = step.meta["val"]
    found: torch.dtype = (value[0] if isinstance(value, tuple | list) else value).dtype
    return found


def as_computed(arguments: Any, dtype: torch.dtype) -> Any:
    """Return an operation's arguments with each number of Python as the operation computes with it.

    Operations on float32 and less compute in float32, on float64 in float64; 0.1 is another number in each.
    """
    if dtype == torch.float64 or not dtype.is_floating_point:
        return arguments

    def rounded(value: float) -> float:
        if isinstance(value, bool):
            return value
        single = torch.tensor(float(value), dtype=torch.float64).float().item()
        return single if isinstance(value, float) else int(single)

    return torch.utils._pytree.tree_map_only((int, float), rounded, arguments)
