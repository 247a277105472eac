"""What a network gives, read as logits or embeddings; and what goes wrong inside it, told in one line.

Sizes: `N` samples, `C` classes, `D` width.
"""

import sysconfig
import traceback
from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path
from types import FrameType
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy

from withstand.core.errors import DataError

Outputs: TypeAlias = Tensor | Mapping[str, Tensor]
"""Logits `(N, C)`, an embedding `(N, D)`, or a dict of such."""

ONE_LOGIT = "the network gives one logit a sample: read as two classes, class 1 where it is above 0"

_SPARSE = "the network gives a sparse tensor: let it give a dense one, by to_dense()"

NARROW = (torch.float16, torch.bfloat16)
_NOT_THE_USERS = tuple(str(path) for path in (Path(torch.__file__).parent, Path(__file__).parents[2]))
_INSTALLED = tuple(sysconfig.get_paths()[name] for name in ("purelib", "platlib", "stdlib"))
_SIZES = (1, 2, 4, 8, 10, 16, 32, 50, 64, 100, 128, 256)
"""Batches that networks are exported for."""


_SLACK = {False: 0.02, True: 0.1}
"""Rounding moves answers by less than this share of the largest one: some layers may work in bfloat16; or all do."""


class NetworkError(DataError):
    """A network raised an error, or gives what is no answer."""


def read(outputs: object, *, single: bool = False) -> Outputs:
    """Return outputs as one tensor or a dict of tensors, in single precision at least.

    Args:
        outputs: a tensor; a mapping, or an object with the attribute `logits`; or a tuple of one such thing.
        single: whether a tensor holds one logit a sample, which stands for two classes.

    Raises:
        NetworkError: anything else.
    """
    if isinstance(outputs, Tensor):
        if outputs.layout != torch.strided:
            raise NetworkError(_SPARSE)
        # By a linear map, so that bounds know it: the logit of class 0 is 0.
        return _wide(outputs.reshape(-1, 1) * outputs.new_tensor([0.0, 1.0]) if single else outputs)
    if isinstance(outputs, Mapping):
        tensors = {str(name): value for name, value in outputs.items() if isinstance(value, Tensor)}
        if any(value.layout != torch.strided for value in tensors.values()):
            raise NetworkError(_SPARSE)
        found = {name: _wide(value) for name, value in tensors.items()}
        if not found:
            raise NetworkError(f"the network gives a {type(outputs).__name__} without tensors: it must hold 'logits'")
        return found
    logits = getattr(outputs, "logits", None)
    if isinstance(logits, Tensor):
        return read({"logits": logits})
    if isinstance(outputs, tuple | list):
        if len(outputs) == 1:
            return read(outputs[0], single=single)
        held = ", ".join(str(tuple(one.shape)) if isinstance(one, Tensor) else type(one).__name__ for one in outputs)
        raise NetworkError(
            f"the network gives a {type(outputs).__name__} of {len(outputs)} things ({held}), and which are the logits "
            "is not known: let it give them alone, or a dict with 'logits'"
        )
    raise NetworkError(f"the network gives a {type(outputs).__name__}: it must give a torch tensor, or a dict of them")


def with_its_row(outputs: Outputs) -> Outputs:
    """Return the answer to one input with its first axis, which a `squeeze` in the network takes away as well."""
    if not isinstance(outputs, Tensor):
        return {name: value[None] if value.dim() == 1 and len(value) > 1 else value for name, value in outputs.items()}
    return outputs[None] if outputs.dim() == 1 and len(outputs) > 1 else outputs


def is_single(outputs: object, count: int) -> bool:
    """Return whether outputs are one number for each of `count` samples, `(N,)` or `(N, 1)`."""
    if isinstance(outputs, tuple | list) and len(outputs) == 1:
        return is_single(outputs[0], count)
    return isinstance(outputs, Tensor) and outputs.shape in ((count,), (count, 1))


def check_answers(outputs: Outputs, count: int) -> None:
    """Refuse outputs that are no finite numbers with one row a sample.

    Raises:
        NetworkError: with what came.
    """
    for name, value in {"": outputs}.items() if isinstance(outputs, Tensor) else outputs.items():
        whose = f"the network's {name!r}" if name else "what the network gives"
        if not value.is_floating_point():
            raise NetworkError(f"{whose} has type {value.dtype}: logits or embeddings are floating numbers")
        if not value.dim() or len(value) != count:
            raise NetworkError(
                f"{whose} has shape {tuple(value.shape)} for {count} inputs: it must have one row for each"
            )
        bad = ~torch.isfinite(value).reshape(count, -1).all(1)
        if bool(bad.any()):
            raise NetworkError(
                f"{whose} holds NaN or infinite values for {int(bad.sum())} of {count} clean inputs, the first at "
                f"{int(bad.nonzero()[0])}"
            )


def check_single(logits: Tensor) -> None:
    """Refuse one number a sample that may as well be a probability.

    Raises:
        NetworkError: all of them lie in [0, 1].
    """
    if bool(((logits >= 0) & (logits <= 1)).all()):
        raise NetworkError(
            f"the network gives one number in [0, 1] for each of {len(logits)} inputs, a probability or a logit: "
            "let it give two logits"
        )


def differing(one: Outputs, other: Outputs, *, narrow: bool) -> int:
    """Return how many inputs are answered otherwise the second time, where most are; 0 where rounding may explain it.

    A unit that rounds may turn over by the last bit of a sum: some inputs differ then, and hardly ever most.

    Args:
        one: answers to some inputs.
        other: answers to the same.
        narrow: whether the network works in half precision.
    """
    found, count = 0, 0
    for first, second in zip(_tensors(one), _tensors(other), strict=True):
        if first.numel():
            far = (first - second).reshape(len(first), -1).abs() > _SLACK[narrow] * first.abs().max()
            found, count = max(found, int(far.any(1).sum())), len(first)
    return found if 2 * found > count else 0


def rows_of(outputs: Outputs, rows: slice) -> Outputs:
    """Return the answers to some of the inputs."""
    return outputs[rows] if isinstance(outputs, Tensor) else {name: value[rows] for name, value in outputs.items()}


def _tensors(outputs: Outputs) -> list[Tensor]:
    return [outputs] if isinstance(outputs, Tensor) else list(outputs.values())


def check_modules(model: object) -> None:
    """Refuse a network whose answers are not functions of one input, or that has no weights yet.

    Raises:
        NetworkError: with the layer.
    """
    if not isinstance(model, nn.Module):
        return
    if any(is_lazy(value) for value in chain(model.parameters(), model.buffers())):
        raise NetworkError("the network has lazy layers that have seen no input yet: run it once, or load its weights")
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and (module.running_mean is None or module.running_var is None):
            raise NetworkError(
                f"the network's {_named(name, module)} normalises by the batch it is in (track_running_stats=False), "
                "so an answer hangs on the other inputs of its batch: give it running statistics"
            )


def own_dtype(model: object) -> torch.dtype | None:
    """Return the type of a network's first floating parameter, or buffer; None without."""
    if not isinstance(model, nn.Module):
        return None
    values = chain(model.parameters(), model.buffers())
    return next((value.dtype for value in values if value.is_floating_point()), None)


def only_batch(ask: Callable[[Tensor], object], x: Tensor) -> int | None:
    """Return the one number of inputs that a network takes, where it is one of the usual; None otherwise."""
    found = []
    for size in _SIZES:
        try:
            outputs = read(ask(x[torch.arange(size, device=x.device) % len(x)]))
            check_answers(outputs, size)
        except NetworkError:
            continue
        found.append(size)
    return found[0] if len(found) == 1 else None


def failure(error: BaseException, model: object, x: Tensor, *, what: str = "the network fails") -> NetworkError:
    """Return what an exception inside a network says, in one line: what, in which layer, at which line of whose code.

    Args:
        error: as it was raised.
        model: the network.
        x: its inputs.
        what: how the line begins.
    """
    layer, line = _place(error, model)
    words = " ".join(str(error).split()) or "no message"
    words = words if len(words) <= 300 else words[:297] + "..."
    return NetworkError(f"{what} on inputs of shape {tuple(x.shape)}: {type(error).__name__}{layer}{line}: {words}")


def told(error: BaseException) -> str:
    """Return what an exception in a user's file says, in one line: type, place in that code, and message."""
    words = " ".join(str(error).split()) or "no message"
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__} at {Path(error.filename or '').name}:{error.lineno}: {error.msg}"
    return f"{type(error).__name__}{_place(error, None)[1]}: {words}"


def _place(error: BaseException, model: object) -> tuple[str, str]:
    """Return in which layer of a model an exception was raised, and at which line of the user's code, in words."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    lines = {id(frame): line for frame, line in traceback.walk_tb(error.__traceback__)}
    layer = ""
    if isinstance(model, nn.Module):
        names = {id(module): name for name, module in model.named_modules()}
        inside = [frame.f_locals.get("self") for frame in frames if frame.f_code.co_name == "_call_impl"]
        known = [module for module in inside if isinstance(module, nn.Module) and id(module) in names]
        layer = f" in {_named(names[id(known[-1])], known[-1])}" if known and names[id(known[-1])] else ""
    theirs = [frame for frame in frames if not _file(frame).startswith((*_NOT_THE_USERS, "<"))]
    own = [frame for frame in theirs if not _file(frame).startswith(_INSTALLED)]
    for frame in reversed(own or theirs):
        return layer, f" at {Path(_file(frame)).name}:{lines[id(frame)]}"
    return layer, ""


def _file(frame: FrameType) -> str:
    return frame.f_code.co_filename


def _named(name: str, module: nn.Module) -> str:
    return f"{name!r} ({type(module).__name__})" if name else f"layer {type(module).__name__}"


def _wide(value: Tensor) -> Tensor:
    return value.float() if value.dtype in NARROW else value
