"""Victim: the only wrapper round a model under attack.

It owns the input range and the normalisation; attacks work in its input space. While it is held, the
model is in eval mode with frozen parameters; afterwards every sub-module's mode, every parameter's
`requires_grad` and `.grad`, every buffer and the global generators are as they were, also on an error.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeAlias

import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.part import Part
from withstand.core.random import isolated

Outputs: TypeAlias = Tensor | Mapping[str, Tensor]
"""Logits `(N, C)`, an embedding `(N, D)`, or a dict of such."""


class Victim(Part):
    """A model as an attacker meets it.

    Args:
        model: maps normalised inputs to `Outputs`.
        low: smallest allowed input value.
        high: largest allowed input value.
        normalize: `(mean, std)` per channel (axis 1), applied before the model; None when the model
            normalises by itself.
        changeable: where an attacker may change an input at all, bool of one input's shape: the numbers of a row, say,
            and not its categories. None for everywhere.

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
        changeable: Tensor | None = None,
    ) -> None:
        if not low < high:
            raise ConfigError(f"low must be below high, not low={low}, high={high}")
        if normalize is not None and (len(normalize) != 2 or any(s <= 0 for s in normalize[1])):
            raise ConfigError(f"normalize must be (mean, std) with positive std, not {normalize!r}")
        self.model, self.low, self.high, self.normalize = model, low, high, normalize
        self.changeable = changeable

    def like(self, model: nn.Module | Callable[[Tensor], Outputs]) -> "Victim":
        """Return a victim of another model with the same range and normalisation."""
        return Victim(model, low=self.low, high=self.high, normalize=self.normalize, changeable=self.changeable)

    def __call__(self, x: Tensor) -> Outputs:
        """Return the model's outputs for inputs in [low, high], `(N, ...)`."""
        if self.normalize is not None:
            shape = (1, -1) + (1,) * (x.dim() - 2)
            mean, std = (torch.as_tensor(value, dtype=x.dtype, device=x.device) for value in self.normalize)
            x = (x - mean.view(shape)) / std.view(shape)
        return self.model(x)

    def output(self, x: Tensor, name: str = "logits") -> Tensor:
        """Return one output tensor: the model's only one, or the named entry of its dict."""
        outputs = self(x)
        if isinstance(outputs, Tensor):
            return outputs
        if name not in outputs:
            raise ConfigError(f"the model gives no output {name!r}: {nearest(name, outputs)}")
        return outputs[name]

    def allowed(self, x: Tensor, mask: Tensor | None = None) -> Tensor | None:
        """Return where inputs `x` may be changed, bool shaped like `x`: by this victim and by a mask; None: everywhere.

        Raises:
            DataError: `changeable` has another shape than an input.
        """
        if self.changeable is None:
            return mask
        if self.changeable.shape != x.shape[1:]:
            raise DataError(f"changeable has shape {tuple(self.changeable.shape)}, inputs have {tuple(x.shape[1:])}")
        free = self.changeable.to(x.device, torch.bool).expand_as(x)
        return free if mask is None else free & mask

    def check(self, x: Tensor) -> Tensor:
        """Return `x` when it is a floating tensor inside the range; clears round-off of 1e-6.

        Raises:
            DataError: with what was seen and how to mend it.
        """
        if not x.is_floating_point():
            raise DataError(
                f"inputs must be floating numbers in [{self.low:g}, {self.high:g}], not {x.dtype}: "
                "use x.float() / 255 for pictures of bytes"
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
