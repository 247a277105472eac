"""Pool: networks of one kind and of different ages, each of which learns a small set of samples by heart.

Their weights, statistics and momenta lie in buffers, stacked: they are no parameters of the method that keeps them, and
are in its checkpoints. Sizes: M samples, D targets of each, P networks.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

from withstand.core.errors import ConfigError, require_at_least
from withstand.core.part import again
from withstand.core.random import isolated
from withstand.core.roles import Model


class Pool(nn.Module):
    """P networks with a linear layer behind each, trained by full batches of SGD on squared errors.

    They draw their first weights from the global generator, as any network does.

    Args:
        network: what is made P times, with new weights.
        outputs: D.
        size: P.
        rate: of SGD.
        momentum: of SGD.
        decay: weight decay, part of the gradient, on every parameter.
    """

    ages: Tensor

    def __init__(
        self,
        network: Model,
        outputs: int,
        size: int,
        *,
        rate: float = 0.1,
        momentum: float = 0.9,
        decay: float = 1e-3,
    ) -> None:
        super().__init__()
        require_at_least(1, outputs=outputs, size=size)
        if not rate > 0 or not 0 <= momentum < 1 or not decay >= 0:
            raise ConfigError(
                f"rate must be above 0, momentum in [0, 1) and decay at least 0: {rate!r}, {momentum!r}, {decay!r}"
            )
        self.outputs_count, self.size = outputs, size
        self.rate, self.momentum, self.decay = rate, momentum, decay
        # In a tuple: a form for the weights below, and no submodule with weights of its own.
        self._form = (network,)
        made = [self._fresh() for _ in range(size)]
        self._plain = (made[0],)
        self._weights = [name for name, _ in made[0].named_parameters()]
        self._names = [*self._weights, *(name for name, _ in made[0].named_buffers())]
        states = [_state_of(one) for one in made]
        self._shapes = {name: states[0][name].shape for name in self._names}
        for name in self._names:  # in rows, which no memory layout of maps rearranges
            self.register_buffer(_key(name), torch.stack([state[name].detach().flatten() for state in states]))
        for name in self._weights:
            self.register_buffer(_key(name, "momentum"), torch.zeros_like(getattr(self, _key(name))))
        self.register_buffer("ages", torch.zeros(size, dtype=torch.int64))

    def features(self, place: int, x: Tensor) -> Tensor:
        """Return a network's features `(B, width)` in eval mode, with gradients to `x`."""
        state = {name.removeprefix("0."): value for name, value in self._state(place).items() if name.startswith("0.")}
        found: Tensor = functional_call(self._plain[0][0].eval(), state, (x,))
        return found

    def told(self, place: int, x: Tensor) -> Tensor:
        """Return what a network with its linear layer tells in eval mode, `(B, D)`."""
        found: Tensor = functional_call(self._plain[0].eval(), self._state(place), (x,))
        return found

    def learn(self, place: int, x: Tensor, targets: Tensor) -> None:
        """Take one step of a network, in training mode, on all samples `(M, ...)` and their targets `(M, D)`."""
        state = self._state(place)
        fitted = {name: state[name].clone().requires_grad_(True) for name in self._weights}
        with torch.enable_grad():
            told = functional_call(self._plain[0].train(), state | fitted, (x.detach(),))
            error = nn.functional.mse_loss(told, targets.detach())
            gradients = torch.autograd.grad(error, list(fitted.values()))
        with torch.no_grad():
            for name, gradient in zip(self._weights, gradients, strict=True):
                moved = getattr(self, _key(name, "momentum"))[place].view(self._shapes[name])
                moved.mul_(self.momentum).add_(gradient).add_(state[name], alpha=self.decay)
                state[name].add_(moved, alpha=-self.rate)
            self.ages[place] += 1

    def renew(self, place: int, *words: int | str) -> None:
        """Put a network with new weights, which belong to the words, and of age 0, in another's place."""
        with isolated(*words):
            fresh = _state_of(self._fresh())
        with torch.no_grad():
            for name, value in self._state(place).items():
                value.copy_(fresh[name])
            for name in self._weights:
                getattr(self, _key(name, "momentum"))[place] = 0
            self.ages[place] = 0

    def _fresh(self) -> nn.Sequential:
        network = again(self._form[0])
        return nn.Sequential(network, nn.Linear(network.width, self.outputs_count))

    def _state(self, place: int) -> dict[str, Tensor]:
        """Return a network's weights and statistics by their names in it: views, which can be written on."""
        return {name: getattr(self, _key(name))[place].view(shape) for name, shape in self._shapes.items()}


def _state_of(network: nn.Module) -> Mapping[str, Tensor]:
    return dict(network.named_parameters()) | dict(network.named_buffers())


def _key(name: str, kind: str = "") -> str:
    """Return a buffer's name, which may hold no point."""
    return f"{kind} {name}".strip().replace(".", "/")
