"""Purifier: a guard that cleans every input before the victim sees it.

A purifier is worth what it withstands when the attacker knows it. Many only hide the gradient (Athalye, Carlini and
Wagner, Obfuscated gradients give a false sense of security, 2018), so each says how to differentiate through it: by its
own slopes; or straight through, as if it did nothing on the way back (BPDA), which serves quantisers and codecs. Where
it draws at random, the attacker averages over draws of his own (EOT; Athalye et al., Synthesizing robust adversarial
examples, 2018).

Sizes: `N` samples.
"""

from collections.abc import Callable, Sequence
from typing import Any, Self, get_args

import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.random import Draws, content_draws, derive
from withstand.core.roles import Defense, Gradient, Outcome
from withstand.core.victims.answers import told
from withstand.core.victims.victim import Outputs, Victim
from withstand.defenses.small import small_victim
from withstand.models.blocks.filter import Filter, RandomFilter

DRAWS = 10
"""Draws over which an attacker averages where a purifier is random, unless another number is asked for."""

_ROWS = 256
"""Samples that are cleaned at once."""


class Purifier(Defense):
    """A filter in front of a victim.

    Args:
        victim: what is guarded. Its range has two ends: filters work on inputs in [0, 1], to and from which others are
            scaled.
        filter: inputs `(N, ...)` in [0, 1] to inputs of the same shape in [0, 1]; a `RandomFilter` is given draws.
        gradient: how an attacker who knows the filter differentiates through it; None for what a `Filter` says itself,
            and "exact" for any other network.
        samples: draws over which such an attacker averages what the victim says; None for 10 of a random filter, 1 of
            any other.
        seed: of the draws, with each sample's content: a prediction is a fixed function of its input.

    Raises:
        ConfigError: a setting that does not fit the filter or the victim.
    """

    def __init__(
        self,
        victim: Victim | nn.Module,
        filter: nn.Module,
        *,
        gradient: Gradient | None = None,
        samples: int | None = None,
        seed: int = 0,
    ) -> None:
        self.victim = victim if isinstance(victim, Victim) else Victim(victim)
        self.filter, self.seed = filter, seed
        self.random = isinstance(filter, RandomFilter)
        own: Gradient = filter.gradient if isinstance(filter, Filter | RandomFilter) else "exact"
        self.gradient = _known(own if gradient is None else gradient)
        self.samples = (DRAWS if self.random else 1) if samples is None else samples
        if self.samples < 1 or (self.samples > 1 and not self.random):
            raise ConfigError(
                f"samples counts the draws of a random filter, 1 or more, not {self.samples}"
                + ("" if self.random else f" of {type(filter).__name__}, which draws nothing")
            )
        if self.victim.span == float("inf"):
            raise ConfigError("a purifier needs a victim whose inputs have a range with two ends: set low= and high=")

    @classmethod
    def example(cls) -> Self:
        return cls(small_victim(), nn.AvgPool2d(3, stride=1, padding=1))

    def purify(self, x: Tensor, draws: Draws | None = None) -> Tensor:
        """Return cleaned inputs, shaped like `x` and in the victim's range.

        Args:
            x: inputs in the victim's range, `(N, ...)`.
            draws: N streams, for a random filter; None for each sample's own, which hang on its content.

        Raises:
            DataError: inputs outside the range, or a filter that gives what the victim cannot take.
        """
        x = self.victim.check(x.detach())
        draws = content_draws(self.seed, x) if draws is None and self.random else draws
        if draws is not None and len(draws) != len(x):
            raise ConfigError(f"draws holds streams for {len(draws)} samples, x has {len(x)}")
        with self._held(), torch.no_grad():
            cleaned = [self._cleaned(x[rows], None if draws is None else draws[rows]) for rows in _runs(len(x))]
        return torch.cat(cleaned) if cleaned else x

    def __call__(self, x: Tensor) -> Outcome:
        x = self.victim.check(x.detach())
        if not len(x):
            raise DataError("there are no inputs to judge")
        cleaned = self.purify(x)
        with self.victim.held(), torch.no_grad():
            outputs = joined([self.victim(cleaned[rows].clone()) for rows in _runs(len(x))])
        return Outcome(outputs, None, cleaned)

    def exposed(self, gradient: Gradient | None = None) -> Victim:
        """Return filter and victim as one; where the filter is random, what it says is the mean over `samples` draws.

        The attacker's draws are his own: the guard's hang on a seed that he does not know.
        """
        way = self.gradient if gradient is None else _known(gradient)
        surface = _Surface(self, way, derive(self.seed, "attacker"))
        return Victim(surface, low=self.victim.low, high=self.victim.high, changeable=self.victim.changeable)

    def _cleaned(self, x: Tensor, draws: Draws | None) -> Tensor:
        low, span = self.victim.low, self.victim.span
        unit = x if (low, span) == (0, 1) else (x - low) / span
        name = type(self.filter).__name__
        try:
            given = self.filter(unit.clone(), draws) if self.random else self.filter(unit.clone())
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise DataError(f"{name} does not clean inputs of shape {tuple(x.shape[1:])}: {told(error)}") from error
        if not isinstance(given, Tensor) or given.shape != x.shape:
            what = tuple(given.shape) if isinstance(given, Tensor) else type(given).__name__
            raise DataError(f"a purifier keeps its inputs' shape, {tuple(x.shape)}: {name} gives {what}")
        seen = given.detach()
        if not bool(torch.isfinite(seen).all()) or float(seen.min()) < -1e-4 or float(seen.max()) > 1 + 1e-4:
            raise DataError(
                f"a purifier gives inputs in [0, 1]: {name} gives values from {seen.min():.4g} to {seen.max():.4g}"
            )
        given = given.clamp(0, 1).to(x.dtype)
        return given if (low, span) == (0, 1) else (low + given * span).clamp(self.victim.low, self.victim.high)

    def _held(self) -> Any:
        return Victim(self.filter).held()


class _Surface(nn.Module):
    """A filter and a victim as one network that can be differentiated.

    Args:
        guard: whose they are.
        gradient: how to go back through the filter.
        seed: of the attacker's draws.
    """

    def __init__(self, guard: Purifier, gradient: Gradient, seed: int) -> None:
        super().__init__()
        self.guard, self.gradient, self.seed = guard, gradient, seed
        self.filter = guard.filter
        model = guard.victim.model
        self.model = model if isinstance(model, nn.Module) else None  # held and moved with this one

    def forward(self, x: Tensor) -> Outputs:
        """Return what the victim says of cleaned inputs."""
        drawn = [content_draws(derive(self.seed, place), x) for place in range(self.guard.samples)]
        given = [self._once(x, draws if self.guard.random else None) for draws in drawn]
        return given[0] if len(given) == 1 else _mean(given)

    def _once(self, x: Tensor, draws: Draws | None) -> Outputs:
        if self.gradient == "straight-through":
            with torch.no_grad():
                cleaned = self.guard._cleaned(x, draws)
            cleaned = _StraightThrough.apply(x, cleaned)
        else:
            cleaned = self.guard._cleaned(x, draws)
        return self.guard.victim(cleaned)


class _StraightThrough(torch.autograd.Function):
    """The cleaned inputs on the way forth, the identity on the way back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cleaned: Tensor) -> Tensor:
        return cleaned.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def joined(parts: Sequence[Outputs]) -> Outputs:
    """Return the outputs of several runs of samples as those of all."""
    return _by_name(parts, torch.cat)


def _mean(parts: Sequence[Outputs]) -> Outputs:
    return _by_name(parts, lambda values: torch.stack(values).mean(0))


def _by_name(parts: Sequence[Outputs], of: Callable[[list[Tensor]], Tensor]) -> Outputs:
    tensors = [part for part in parts if isinstance(part, Tensor)]
    if tensors:
        return of(tensors)
    named = [part for part in parts if not isinstance(part, Tensor)]
    return {name: of([part[name] for part in named]) for name in named[0]}


def _runs(count: int) -> list[slice]:
    return [slice(start, start + _ROWS) for start in range(0, count, _ROWS)]


def _known(gradient: Gradient) -> Gradient:
    if gradient not in get_args(Gradient):
        raise ConfigError(f"gradient {gradient!r} is unknown: {nearest(str(gradient), get_args(Gradient))}")
    return gradient
