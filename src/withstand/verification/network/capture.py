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
from withstand.core.victims.victim import Victim
from withstand.verification.network.capture_bends import BENDS
from withstand.verification.network.capture_check import compare
from withstand.verification.network.capture_graph import Builder, Place, fold
from withstand.verification.network.capture_layout import FIRST, Aside
from withstand.verification.network.capture_products import PRODUCTS
from withstand.verification.network.capture_rules import LINEAR, REARRANGING, UNBOUNDED, unsupported
from withstand.verification.network.capture_trace import traced
from withstand.verification.network.capture_windows import WINDOWS
from withstand.verification.network.capture_writes import WRITES, write
from withstand.verification.network.network import Network
from withstand.verification.specification.box import Region

BATCH = 3
"""Samples of the example: more than one, so that a dimension that follows the batch is told from a fixed one."""

RULES = LINEAR | BENDS | PRODUCTS | WINDOWS
"""What each operation is, by name."""
ELEMENTWISE = BENDS.keys() - {"glu"} | {"add", "sub", "rsub", "neg", "native_layer_norm"}
"""Operations that are the same wherever the samples lie."""

_SOFTMAX = {"_softmax": "softmax", "_log_softmax": "log-softmax"}
_FILLING = {"new_zeros", "new_ones", "new_full", "zeros_like", "ones_like", "full_like"}
"""Operations that look at nothing of their input but its shape."""

_EMPTY = {"new_empty", "empty_like"}
"""Operations that leave open what they hold, until it is written."""

_SAME = {"clone", "detach", "alias", "lift_fresh_copy", "contiguous", "dropout"}


def capture(model: nn.Module | Victim | Callable[[Tensor], Tensor], x: Tensor, *, check: bool = True) -> Network:
    """Return the network that `model` is in eval mode, in float64.

    Args:
        model: gives one tensor for a batch, or a dict with "logits"; a `Victim` is captured with its normalisation.
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
        return victim.output(x.clone())  # what changes its input changes a copy

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
            if builder.hidden(output) is not None:
                raise unsupported(UNBOUNDED)
            if output.layout != FIRST:
                raise DataError(
                    f"the model's output has its samples in dimension {output.layout.dim}, not in the first one"
                )
            return fold(builder.network(output, tuple(notes)))
    raise DataError("the model gives no output")


def _call(builder: Builder, step: fx.Node, known: dict[fx.Node, Any], notes: list[str]) -> Any:
    arguments: Any = fx.map_arg(step.args, known.__getitem__)
    options: Any = fx.map_arg(step.kwargs, known.__getitem__)
    if step.target is operator.getitem:
        if not isinstance(arguments[0], list) and arguments[1]:
            raise unsupported(f"more than the first outcome of {step.all_input_nodes[0].name}")
        return arguments[0][arguments[1]] if isinstance(arguments[0], list) else arguments[0]
    operation = step.target
    if isinstance(operation, str):
        raise unsupported(operation)
    if not any(isinstance(known[source], Place) for source in step.all_input_nodes):
        _check_fixed(step)
        found = operation(*arguments, **options)
        return list(found) if isinstance(found, tuple) else found.cpu()
    name = str(step.target).removeprefix("aten.").partition(".")[0]
    if name in _EMPTY:
        return torch.zeros(_first(step).shape, dtype=_dtype(step))
    if name in _FILLING:
        given = step.all_input_nodes[0]
        like = torch.zeros(given.meta["val"].shape, dtype=_dtype(given))
        return operation(like, *arguments[1:], **{**options, "device": None})
    if name in _SAME or (name == "_to_copy" and _floating(step)):
        _check_cast(step)
        return arguments[0]
    if name in REARRANGING:
        return builder.rearrange(operation, arguments, options, BATCH)
    hidden = any(
        builder.hidden(value) is not None
        for value in torch.utils._pytree.tree_leaves((arguments, options))
        if isinstance(value, Place)
    )
    if hidden and name not in ("_softmax", "_safe_softmax"):
        raise unsupported(UNBOUNDED)
    if name in _SOFTMAX and not hidden and [user.op for user in step.users] == ["output"]:
        shape = _shape(step)
        if arguments[0].layout == FIRST and arguments[1] % (len(shape) + 1) == len(shape):
            notes.append(f"{_SOFTMAX[name]} at the end stripped: classes rank alike by what it is given")
            return arguments[0]
    if name in RULES or name == "fill":
        arguments, options = (as_computed(value, _dtype(step)) for value in (arguments, options))
    places = [known[source] for source in step.all_input_nodes if isinstance(known[source], Place)]
    if name in WRITES and all(place.layout == FIRST for place in places):
        return write(builder, name, operation, arguments, _shape(step), BATCH)
    if name not in RULES:
        _check_fixed(step)
        raise unsupported(name)
    if any(place.layout != FIRST for place in places):
        return _aside(builder, step, name, (arguments, options), places)
    shape = _shape(step)
    return _ruled(builder, name, arguments, options, shape)


def _ruled(builder: Builder, name: str, arguments: Any, options: Any, shape: tuple[int, ...]) -> Place:
    """Append what a rule says, and look at the shape that comes of it."""
    place = RULES[name](builder, arguments, options, shape)
    if builder.shape(place) != shape:
        raise unsupported(f"{name} of this form")
    return place


def _aside(builder: Builder, step: fx.Node, name: str, given: tuple[Any, Any], places: Sequence[Place]) -> Place:
    """Append a step on values whose samples do not all lie first, as the step that it is for single samples."""
    ranks = [len(builder.shape(place)) + (place.layout == FIRST) for place in places]
    full = tuple(_first(step).shape)
    hangs = [spot for spot, value in enumerate(given[0]) if isinstance(value, Place)]
    here = Aside(
        name,
        BATCH,
        full,
        tuple((place.layout, rank) for place, rank in zip(places, ranks, strict=True)),
        hangs[0] if len(hangs) == 1 else None,
    )
    dims = here.dims(given[0])
    outcome = here.outcome(name in ELEMENTWISE, dims, keep=len(full) == max(ranks))

    def single(value: Any) -> Any:
        if isinstance(value, Place):
            return builder.aside(value, max(ranks))
        return here.constant(value) if isinstance(value, Tensor) else value

    arguments, options = (torch.utils._pytree.tree_map(single, value) for value in given)
    shape = (*full[: outcome.dim], outcome.outer * outcome.inner, *full[outcome.dim + 1 :])
    place = _ruled(builder, name, here.single(arguments, dims), options, shape)
    return builder.back(place, outcome)


def _check_fixed(step: fx.Node) -> None:
    if torch.Tag.nondeterministic_seeded in getattr(step.target, "tags", ()):
        raise ConfigError(f"the network draws at random ({step.name}): only a fixed net can be certified")


def _shape(step: fx.Node) -> tuple[int, ...]:
    """Return the shape of one sample of a step's (first) output."""
    first = _first(step)
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
    return _first(step).dtype


def _first(step: fx.Node) -> Tensor:
    """Return a step's (first) output in the trace."""
    value = step.meta["val"]
    found: Tensor = value[0] if isinstance(value, tuple | list) else value
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
