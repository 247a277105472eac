"""Adapter: a guard that fits its victim to the inputs at hand, predicts, and forgets.

Each episode starts from the victim as it is: some of its parameters are copied, the copies take a few steps on a loss
that needs no labels, and predict. The victim's own parameters are never written on; modes, flags and buffers are
restored, also when a step fails.

TENT: Wang, Shelhamer, Liu, Olshausen and Darrell, Fully test-time adaptation by entropy minimization, 2021.

Sizes: `N` samples, `C` classes.
"""

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal, Self

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from withstand.core.errors import ConfigError, DataError, nearest, require_at_least
from withstand.core.roles import Defense, Gradient, Outcome
from withstand.core.victims.victim import Outputs, Victim
from withstand.defenses.purifier import joined
from withstand.defenses.small import small_victim

_NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.modules.instancenorm._InstanceNorm)


class Adapter(Defense):
    """Episodic test-time adaptation; a subclass says which parameters move and what they lower.

    Args:
        victim: what is adapted; its model is a torch network.
        steps: gradient steps on each group of inputs.
        rate: their learning rate.
        batch: inputs that are adapted to together, at most: 1 adapts to each alone. More are cut into even groups.
        optimizer: "adam", or "sgd" with momentum 0.9.

    Raises:
        ConfigError: a setting outside its range, or a victim without parameters to adapt.
    """

    def __init__(
        self,
        victim: Victim | nn.Module,
        *,
        steps: int = 1,
        rate: float = 1e-3,
        batch: int = 1,
        optimizer: Literal["adam", "sgd"] = "adam",
    ) -> None:
        self.victim = victim if isinstance(victim, Victim) else Victim(victim)
        require_at_least(1, steps=steps, batch=batch)
        if not 0 < rate < math.inf:
            raise ConfigError(f"rate must be above 0 and finite, not {rate!r}")
        if optimizer not in ("adam", "sgd"):
            raise ConfigError(f"optimizer {optimizer!r} is unknown: {nearest(str(optimizer), ('adam', 'sgd'))}")
        self.steps, self.rate, self.batch, self.optimizer = steps, rate, batch, optimizer
        if not isinstance(self.victim.model, nn.Module):
            raise ConfigError(f"only a torch network can be adapted, not a {type(self.victim.model).__name__}")
        self._model: nn.Module = self.victim.model
        if not self.moving(self._model):
            raise ConfigError(f"{type(self._model).__name__} has no parameters that {type(self).__name__} adapts")

    @classmethod
    def example(cls) -> Self:
        return cls(small_victim())

    @abstractmethod
    def loss(self, outputs: Outputs, x: Tensor) -> Tensor:
        """Return what each sample's adaptation lowers, `(N,)`, from what the victim gives for inputs `x`."""

    def moving(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """Return the parameters that are adapted, by their names in the model: all of them."""
        return dict(model.named_parameters())

    def prepare(self, model: nn.Module) -> None:
        """Set the modes of modules, all in eval mode, for the span of an episode; they are restored after it."""

    def __call__(self, x: Tensor) -> Outcome:
        x = self.victim.check(x.detach())
        if not len(x):
            raise DataError("there are no inputs to judge")
        self.victim.examine(x)
        with torch.no_grad():
            outputs = self.adapted(x)
        return Outcome(outputs, None, x)

    def exposed(self, gradient: Gradient | None = None) -> Victim:
        """Return adaptation and victim as one network of its inputs.

        It adapts to the attacked inputs, as the guard will. Its slopes take the adapted weights as constants; that the
        input moves them too is left out of the slope.
        """
        return Victim(
            _Adapting(self),
            low=self.victim.low,
            high=self.victim.high,
            changeable=self.victim.changeable,
            together=self.batch > 1 or self.victim.together,
        )

    def adapted(self, x: Tensor) -> Outputs:
        """Return what the victim says of inputs after it was adapted to them, group by group."""
        groups = math.ceil(len(x) / self.batch)
        return joined([self._episode(part) for part in x.chunk(groups)])

    def _episode(self, x: Tensor) -> Outputs:
        with self._still():
            fixed = {name: value.detach() for name, value in self._model.named_parameters()}
            fixed |= {name: value.clone() for name, value in self._model.named_buffers()}
            fitted = {name: fixed[name].clone().requires_grad_(True) for name in self.moving(self._model)}
            with torch.enable_grad():
                self._fit(fitted, fixed, x.detach())
            state = fixed | {name: value.detach() for name, value in fitted.items()}
            return self._with(state)(x.clone())

    def _fit(self, fitted: Mapping[str, Tensor], fixed: Mapping[str, Tensor], x: Tensor) -> None:
        """Move the fitted copies, in place."""
        values = list(fitted.values())
        steps = (
            torch.optim.Adam(values, lr=self.rate)
            if self.optimizer == "adam"
            else torch.optim.SGD(values, lr=self.rate, momentum=0.9)
        )
        for _ in range(self.steps):
            loss = self.loss(self._with({**fixed, **fitted})(x.clone()), x)
            if loss.shape != x.shape[:1]:
                raise DataError(f"an adapter's loss gives one value a sample, ({len(x)},), not {tuple(loss.shape)}")
            if not bool(torch.isfinite(loss).all()):
                raise DataError("the loss that adaptation lowers is not finite")
            gradients = torch.autograd.grad(loss.mean(), values, allow_unused=True)
            for value, gradient in zip(values, gradients, strict=True):
                value.grad = gradient
            steps.step()

    def _with(self, state: Mapping[str, Tensor]) -> Victim:
        return self.victim.like(lambda x: functional_call(self._model, dict(state), (x,)))

    @contextmanager
    def _still(self) -> Iterator[None]:
        """Hold the victim in the modes that `prepare` sets."""
        with self.victim.held():
            self.prepare(self._model)
            yield


class _Adapting(nn.Module):
    def __init__(self, guard: Adapter) -> None:
        super().__init__()
        self.guard = guard
        self.model = guard.victim.model  # held and moved with this one

    def forward(self, x: Tensor) -> Outputs:
        return self.guard.adapted(x)


class TENT(Adapter):
    """Lower the entropy of predictions by the scales and shifts of normalisation layers, each time from the start.

    Batch normalisation uses the statistics of the inputs at hand in place of the running ones, so that adapting to one
    input of few values a channel tells little. Two things differ from the official code: each group of inputs begins
    anew (its `episodic`), and the prediction comes after the last step and not before it, since no later group would
    profit from that step.

    Args:
        victim: a classifier with normalisation layers.
        steps: gradient steps on each group; the paper takes 1.
        rate: the paper's learning rate on CIFAR-10-C.
        batch: inputs at once; the paper takes 200 on CIFAR-10-C and 64 on ImageNet-C.
        optimizer: "adam" on CIFAR-10-C, "sgd" on ImageNet-C.
    """

    def __init__(
        self,
        victim: Victim | nn.Module,
        *,
        steps: int = 1,
        rate: float = 1e-3,
        batch: int = 200,
        optimizer: Literal["adam", "sgd"] = "adam",
    ) -> None:
        super().__init__(victim, steps=steps, rate=rate, batch=batch, optimizer=optimizer)

    def moving(self, model: nn.Module) -> dict[str, nn.Parameter]:
        norms = {name: module for name, module in model.named_modules() if isinstance(module, _NORMS)}
        known = {id(parameter) for module in norms.values() for parameter in module.parameters(recurse=False)}
        return {name: parameter for name, parameter in model.named_parameters() if id(parameter) in known}

    def prepare(self, model: nn.Module) -> None:
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.training = True

    def loss(self, outputs: Outputs, x: Tensor) -> Tensor:
        if not isinstance(outputs, Tensor):
            raise DataError(f"TENT adapts a classifier, which gives logits, not outputs {', '.join(outputs)}")
        entropy = -(outputs.softmax(1) * outputs.log_softmax(1)).sum(1)
        return entropy.flatten(1).mean(1) if entropy.dim() > 1 else entropy
