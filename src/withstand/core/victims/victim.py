"""Victim: the only wrapper round a model under attack.

It owns the input range and the normalisation; attacks work in its input space. What the network takes and gives is
looked at once (`examine`). While it is held, the model is in eval mode with frozen parameters; afterwards every
sub-module's mode, every parameter's `requires_grad` and `.grad`, every buffer and the global generators are as they
were, also on an error.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError, DataError, WithstandError, nearest
from withstand.core.part import Part
from withstand.core.random import isolated
from withstand.core.threat import Norm, parse_eps
from withstand.core.victims.answers import (
    NARROW,
    ONE_LOGIT,
    NetworkError,
    check_answers,
    check_modules,
    check_single,
    differing,
    failure,
    is_single,
    only_batch,
    own_dtype,
    read,
    rows_of,
    with_its_row,
)
from withstand.core.victims.answers import Outputs as Outputs
from withstand.core.victims.changeable import Changeable, free_of, in_steps
from withstand.core.victims.inputs import as_tensor, is_normalization
from withstand.core.victims.scale import PICTURES, Scale

_LOST = {"linf": 0.1, "l2": 4.0, "l1": 16.0}
"""Radii below these are meant for inputs in [0, 1], where inputs span `_BYTES` or more."""
_BYTES = 100
_LOOKED_AT = 64
"""Inputs on which a network is looked at."""


@dataclass(frozen=True)
class _Form:
    """How a network is spoken to, as found out once.

    Attributes:
        dtype: that its inputs are cast to; None where it takes them as they are.
        single: whether it gives one logit a sample.
        seen: shape, type and device of the inputs that it was tried on.
    """

    dtype: torch.dtype | None = None
    single: bool = False
    seen: frozenset[tuple[object, ...]] = frozenset()


class Victim(Part):
    """A model as an attacker meets it.

    Args:
        model: maps normalised inputs to `Outputs`.
        low: smallest allowed input value.
        high: largest allowed input value.
        normalize: `(mean, std)` per channel (axis 1), applied before the model; None when the model
            normalises by itself.
        changeable: where an attacker may change an input at all, bool of one input's shape: the numbers of a row, say,
            and not its categories; or by how much too. None for everywhere.
        together: whether inputs belong together, as nodes of one graph do, which see one another: answers may then hang
            on the whole batch, and an attack has to take all of it at once.
        levels: how Linf radii are told: 255 for k/255, as of pictures; 100 for percent of an entry's range, as of rows.

    >>> victim = Victim(nn.Flatten(), normalize=((0.5,), (0.25,)))
    >>> victim(torch.full((1, 1, 1, 1), 0.75)).item()
    1.0
    """

    def __init__(
        self,
        model: nn.Module | Callable[[Tensor], Outputs],
        *,
        low: float = 0.0,
        high: float = 1.0,
        normalize: tuple[Sequence[float], Sequence[float]] | None = None,
        changeable: Tensor | Changeable | None = None,
        together: bool = False,
        levels: int = PICTURES,
    ) -> None:
        if not low < high:
            raise ConfigError(f"low must be below high, not low={low}, high={high}")
        if normalize is not None and not is_normalization(normalize):
            raise ConfigError(f"normalize must be (mean, std) of equal length with positive std, not {normalize!r}")
        self.model, self.low, self.high, self.normalize = model, low, high, normalize
        self.changeable, self.together, self.levels = changeable, together, levels
        self._form = _Form()

    def like(self, model: nn.Module | Callable[[Tensor], Outputs]) -> "Victim":
        """Return a victim of another model with the same range, normalisation and form of outputs."""
        return self._but(model, self.normalize, self.changeable)

    def fed(self, normalize: tuple[Sequence[float], Sequence[float]] | None) -> "Victim":
        """Return this victim with another normalisation."""
        return self._but(self.model, normalize, self.changeable)

    def free(self) -> "Victim":
        """Return this victim with inputs that may be changed everywhere."""
        return self._but(self.model, self.normalize, None)

    def _but(
        self,
        model: nn.Module | Callable[[Tensor], Outputs],
        normalize: tuple[Sequence[float], Sequence[float]] | None,
        changeable: Tensor | Changeable | None,
    ) -> "Victim":
        other = Victim(
            model,
            low=self.low,
            high=self.high,
            normalize=normalize,
            changeable=changeable,
            together=self.together,
            levels=self.levels,
        )
        other._form = self._form
        return other

    def __call__(self, x: Tensor) -> Outputs:
        """Return the model's outputs for inputs in [low, high], `(N, ...)`.

        Raises:
            NetworkError: the model raised an error, or gives neither a tensor nor a dict of them.
        """
        outputs = read(self._ask(x), single=self._form.single)
        return with_its_row(outputs) if len(x) == 1 else outputs

    def _ask(self, x: Tensor) -> object:
        """Return what the model gives, as it gives it."""
        if self.normalize is not None:
            shape = (1, -1) + (1,) * (x.dim() - 2)
            mean, std = (torch.as_tensor(value, dtype=x.dtype, device=x.device) for value in self.normalize)
            if mean.numel() not in (1, x.shape[1]) and x.shape[1] != 1:
                raise DataError(f"normalize has {mean.numel()} channels, inputs of shape {tuple(x.shape)} {x.shape[1]}")
            x = (x - mean.view(shape)) / std.view(shape)
        given = x if self._form.dtype is None else x.to(self._form.dtype)
        try:
            return self.model(given)
        except WithstandError:
            raise
        except (Exception, SystemExit) as error:
            raise failure(error, self.model, given) from error

    @property
    def span(self) -> float:
        """The width of the input range."""
        return self.high - self.low

    @property
    def scale(self) -> Scale:
        """How radii are told."""
        return Scale(self.span, self.levels)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be known of how the outputs are read."""
        return (ONE_LOGIT,) if self._form.single else ()

    def ready(self, samples: Tensor) -> Tensor:
        """Return samples of a source in this victim's range and precision, and look at what it gives for them.

        Bytes 0 to 255 become the range's ends and what lies between; other numbers have to lie in the range.

        Raises:
            DataError: samples outside the range, or that the network cannot take.
        """
        x = as_tensor(samples)
        if x.dtype == torch.uint8:
            if math.isinf(self.span):
                raise DataError(f"samples of bytes need an input range, and this victim's is {self._range()}")
            x = x.float() / 255 * self.span + self.low
        elif x.dim() == 4 and self.span >= _BYTES and len(x) and 0 <= float(x.min()) <= float(x.max()) <= 1:
            raise DataError(
                f"pictures lie in [0, 1], and this victim's input range is {self._range()}: scale them to it"
            )
        x = self.check(x)
        self.examine(x)
        return x.double() if self._form.dtype == torch.float64 else x

    def examine(self, x: Tensor) -> None:
        """Look once at what the network takes and gives, on a few clean inputs of each shape that comes.

        A network in another precision gets its inputs cast to it; one logit a sample is read as two classes, and
        `notes` says so.

        Args:
            x: inputs in the range, `(N, ...)`.

        Raises:
            NetworkError: in one line, an error inside the network, or outputs that are no finite answer a sample.
        """
        key = (tuple(x.shape[1:]), x.dtype, str(x.device))
        if key in self._form.seen or not len(x):
            return
        check_modules(self.model)
        few = x[:_LOOKED_AT].detach()
        with self.held(), torch.no_grad():
            outputs = self._first(few)
            if is_single(outputs, len(few)):
                self._form = replace(self._form, single=True)
                answers = read(outputs, single=True)
                check_answers(answers, len(few))
                assert isinstance(answers, Tensor)  # as `is_single` saw
                check_single(answers[:, 1])
            else:
                answers = with_its_row(read(outputs)) if len(few) == 1 else read(outputs)
                check_answers(answers, len(few))
            if not self.together:
                check_answers(self(few[:1].clone()), 1)
                self._check_alone(few, answers)
        self._form = replace(self._form, seen=self._form.seen | {key})

    def _check_alone(self, x: Tensor, answers: Outputs) -> None:
        """Refuse a network that answers an input otherwise in another batch, and twice alike in the same one."""
        if len(x) < 2:
            return
        narrow = (self._form.dtype or x.dtype) in NARROW
        count = max(min(2, len(x) - 1), len(x) // 8)  # few, whose mean and largest are their own
        last = x[-count:].repeat(len(x) // count + 1, *[1] * (x.dim() - 1))[-len(x) :]
        for company, rows in ((x[:count], slice(count)), (last, slice(-count, None))):  # each in its place
            wanted, found = rows_of(answers, rows), rows_of(self(company.clone()), rows)
            apart = differing(wanted, found, narrow=narrow)
            if apart and not differing(wanted, rows_of(self(x.clone()), rows), narrow=narrow):
                raise NetworkError(
                    f"the network's answers hang on the other inputs of their batch: {apart} of {count} are others in "
                    "another batch, so that what an attack finds may be another input's doing"
                )

    def _first(self, x: Tensor) -> object:
        """Return what the model gives for `x` and can give for one input; find out which precision it takes."""
        try:
            outputs = self._in_its_precision(x)
            self._ask(x[:1].clone())
        except NetworkError as error:
            size = only_batch(lambda some: self._ask(some.clone()), x)
            if size is None:
                raise
            raise NetworkError(f"the network takes batches of {size} alone, and has to take any number") from error
        return outputs

    def _in_its_precision(self, x: Tensor) -> object:
        try:
            return self._ask(x.clone())
        except NetworkError:
            dtype = own_dtype(self.model)
            if self._form.dtype is not None or dtype in (None, x.dtype):
                raise
            self._form = replace(self._form, dtype=dtype)
            try:
                return self._ask(x.clone())
            except NetworkError:
                self._form = replace(self._form, dtype=None)
            raise

    def slope(self, values: Tensor, x: Tensor, *, keep_graph: bool = False) -> Tensor | None:
        """Return the gradient of each sample's own value, shaped like `x`; None where the network cuts the way to it.

        Args:
            values: `(N,)`, computed from this victim's outputs for `x`.
            x: its inputs, which require gradients.
            keep_graph: whether another slope will be asked of the same forward pass.

        Raises:
            NetworkError: in one line, an error inside the network's backward pass.
        """
        if not values.requires_grad:
            return None
        try:
            return torch.autograd.grad(values.sum(), x, allow_unused=True, retain_graph=keep_graph)[0]
        except WithstandError:
            raise
        except (Exception, SystemExit) as error:
            raise failure(error, self.model, x, what="the network's backward pass fails") from error

    def output(self, x: Tensor, name: str = "logits") -> Tensor:
        """Return one output tensor: the model's only one, or the named entry of its dict."""
        outputs = self(x)
        if isinstance(outputs, Tensor):
            return outputs
        if name not in outputs:
            raise ConfigError(f"the model gives no output {name!r}: {nearest(name, outputs)}")
        return outputs[name]

    def allowed(self, x: Tensor, mask: Tensor | None = None, *, eps: float | None = None) -> Tensor | None:
        """Return where inputs `x` may be changed, bool shaped like `x`: by this victim and by a mask; None: everywhere.

        With `eps`, entries that change by steps do so where one is no larger.

        Raises:
            DataError: `changeable` has another shape than an input.
        """
        if self.changeable is None:
            return mask
        free = free_of(self.changeable, x, eps)
        return free if mask is None else free & mask

    def in_steps(self, worse: Tensor, x: Tensor) -> tuple[Tensor, ...]:
        """Return attacked inputs `(N, ...)` in steps, as `Changeable` does; as they are where nothing has steps."""
        return in_steps(self.changeable, worse, x, self.low, self.high)

    def radius(self, eps: str | float, norm: Norm = "linf") -> float:
        """Return a radius in input units: a number is one, a fraction like "8/255", or "5%", is a share of the range.

        >>> Victim(nn.Flatten(), high=255).radius("8/255"), Victim(nn.Flatten(), high=255).radius(8)
        (8.0, 8.0)

        Raises:
            ConfigError: more than the whole range; so little of it that inputs in [0, 1] were meant; a share in l0.
        """
        value, share = parse_eps(eps), isinstance(eps, str) and bool({"/", "%"} & set(eps))
        if share and math.isinf(self.span):
            raise ConfigError(f"eps {eps} is a share of the input range, which is {self._range()}: give a number")
        if norm == "l0":
            if share:
                raise ConfigError(f"l0 counts entries, so eps must be a whole number of them, not a share like {eps}")
            return value
        value = value * self.span if share else value
        if norm == "linf" and value > self.span:
            meant = f": did you mean {eps}/255?" if not share and value <= 255 else ""
            raise ConfigError(f"eps {eps} is more than the whole input range, {self._range()}{meant}")
        if not share and self.loses(value, norm):
            raise ConfigError(
                f"eps {eps} is next to nothing of the input range, {self._range()}: radii are in input units, so that "
                f"{value * self.span:.4g} is what {eps} is of inputs from 0 to 1"
            )
        return value

    def loses(self, eps: float, norm: Norm) -> bool:
        """Return whether a radius is so small for inputs of this range that inputs in [0, 1] were meant."""
        return norm != "l0" and _BYTES <= self.span < math.inf and 0 < eps < _LOST[norm]

    def _range(self) -> str:
        return f"{self.low:g} to {self.high:g}"

    def check(self, x: Tensor) -> Tensor:
        """Return `x` when it is a floating tensor inside the range; clears round-off of 1e-6.

        Raises:
            DataError: with what was seen and how to mend it.
        """
        x = as_tensor(x)
        if not x.is_floating_point():
            raise DataError(
                f"inputs must be floating numbers in [{self.low:g}, {self.high:g}], not {x.dtype}: "
                "use x.float() / 255 for pictures of bytes; of token ids, the embeddings can be moved"
            )
        if not bool(torch.isfinite(x).all()):
            raise DataError("inputs hold NaN or infinite values")
        if x.numel():
            low, high = x.min().item(), x.max().item()
            slack = 1e-6 * (self.high - self.low)
            if low < self.low - slack or high > self.high + slack:
                raise DataError(
                    f"inputs lie in [{low:.4g}, {high:.4g}], outside [{self.low:g}, {self.high:g}]. Undo the "
                    "normalisation and give it to Victim(normalize=(mean, std)), or set low= and high="
                )
        return x.clamp(self.low, self.high)

    @contextmanager
    def held(self) -> Iterator["Victim"]:
        """Freeze the model in eval mode for the span of an attack, and restore it after."""
        modules = list(self.model.modules()) if isinstance(self.model, nn.Module) else []
        parameters = list(self.model.parameters()) if isinstance(self.model, nn.Module) else []
        buffers = list(self.model.buffers()) if isinstance(self.model, nn.Module) else []
        modes = [module.training for module in modules]
        flags = [(parameter.requires_grad, parameter.grad) for parameter in parameters]
        kept = [buffer.clone() for buffer in buffers]
        with isolated():
            try:
                for module in modules:
                    module.training = False
                for parameter in parameters:
                    parameter.requires_grad_(False)
                yield self
            finally:
                for module, mode in zip(modules, modes, strict=True):
                    module.training = mode
                for parameter, (flag, gradient) in zip(parameters, flags, strict=True):
                    parameter.requires_grad_(flag)
                    parameter.grad = gradient
                with torch.no_grad():
                    for buffer, value in zip(buffers, kept, strict=True):
                        if not torch.equal(buffer, value):
                            buffer.copy_(value)
