"""The game of a generator and its critic, which learn in turns: what methods with a critic share."""

import copy
import math
import warnings
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, Self, TypeVar

import torch
from torch import Tensor, nn

from withstand.core.batch import Batch
from withstand.core.devices.distributed import total, world_size
from withstand.core.errors import ConfigError
from withstand.core.roles import Method, Model, Terms, Trainer
from withstand.methods.shared.wrappers.continued import take_over
from withstand.models.restoration.layer_maps import LayerMaps

SURE = 1e-3
"""A critic that gives made samples less than this, and true ones more than the rest to 1, has won."""
PACE = 0.95
LOOK = 50

Made = TypeVar("Made")
"""True samples beside what is made, whatever both turns read."""


class Game(Method, Generic[Made]):
    """Base of methods whose generator and critic learn in turns, each with an optimizer of its own.

    A subclass makes its encoder and `features`, and calls `begin`. What is made is made once for both turns.

    Attributes:
        critic: tells true samples from made ones.
        start: the encoder before the first step, as an earlier stage gave it, to be compared with.
        features: of a content loss, frozen; None for none.
        believed: running means of the probability that the critic gives to true and to made samples, `(2,)`.
    """

    critic: nn.Module
    start: Model
    features: LayerMaps | None
    believed: Tensor
    _told: bool

    def begin(self, critic: nn.Module) -> None:
        """Keep the encoder as it is now, and take the critic, which believes nothing yet."""
        self.start = copy.deepcopy(self.encoder).requires_grad_(False).eval()
        self.critic = critic
        self.register_buffer("believed", torch.full((2,), 0.5))
        self._told = False

    def inherit(self, earlier: Method) -> None:
        """Start from what an earlier stage learnt, and keep it."""
        super().inherit(earlier)
        take_over(self.start, self.encoder)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all that learns; the earlier stage's network and the features stay in eval mode."""
        super().train(mode)
        self.start.eval()
        if self.features is not None:
            self.features.eval()
        return self

    @abstractmethod
    def generating(self) -> tuple[nn.Module, ...]:
        """Return what the generator's optimizer moves."""

    @abstractmethod
    def made(self, batch: Batch) -> Made:
        """Return true samples, and what is made."""

    @abstractmethod
    def judged(self, made: Made) -> Terms:
        """Return the critic's terms, with its "loss", "believed true" and "believed made"."""

    @abstractmethod
    def fooled(self, made: Made) -> Terms:
        """Return the generator's terms, with its "loss"; the critic's parameters have no gradient of it."""

    def plays(self, judged: Terms) -> bool:
        """Return whether the critic learns in this step, from its terms; the same on every process."""
        return True

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the parameters of generator and critic, each of which has an optimizer of its own."""
        parts: dict[str, tuple[nn.Module, ...]] = {"generator": self.generating(), "critic": (self.critic,)}
        return {
            name: [value for part in some for value in part.parameters() if value.requires_grad]
            for name, some in parts.items()
        }

    def step(self, batch: Batch) -> Terms:
        """Return the sum of what generator and critic lower; no gradient of the first reaches the critic."""
        made = self.made(batch)
        judged, fooled = self.judged(made), self.fooled(made)
        return {**_logged(judged), **_logged(fooled), "loss": judged["loss"] + fooled["loss"]}

    def update(self, batch: Batch, trainer: Trainer) -> Terms:
        """Let the critic learn from what the generator makes, and then the generator from the critic's new answer."""
        kept: list[Made] = []

        def critics_turn(batch: Batch) -> Terms:
            kept.append(self.made(batch))
            return self.judged(kept[0])

        def generators_turn(batch: Batch) -> Terms:
            return self.fooled(kept[0])

        judged = trainer.terms(batch, critics_turn)
        if self.plays(judged):
            trainer.descend(judged["loss"], "critic")
        fooled = trainer.terms(batch, generators_turn)
        trainer.descend(fooled["loss"], "generator")
        self.watch(judged, batch.step)
        return {**_logged(judged), **_logged(fooled), "loss": fooled["loss"].detach()}

    def diverged(self) -> str:
        """Return in words how the critic has left the game, or "" while it is in it."""
        true, made = self.believed.tolist()
        if not (made < SURE and true > 1 - SURE):
            return ""
        return (
            f"the critic has won: it gives true {self.called} a probability of {true:.4f} of being true and made ones "
            f"{made:.1e}, so the generator learns little from it"
        )

    called = "pictures"
    """What is made."""

    @torch.no_grad()
    def watch(self, judged: Terms, step: int) -> None:
        """Follow what the critic believes, and say once that it has won."""
        now = torch.stack([judged["believed true"], judged["believed made"]])
        self.believed.lerp_(over_processes(now).to(self.believed), 1 - PACE)
        if step % LOOK == LOOK - 1 and not self._told and (said := self.diverged()):
            self._told = True
            warnings.warn(f"{said}: usual remedies are a lower learning rate for it and more data", stacklevel=2)


def over_processes(value: Tensor) -> Tensor:
    """Return the mean of a value over all processes."""
    return total(value.detach()) / world_size()


def check_weights(weights: dict[str, float]) -> None:
    """Refuse weights of a loss's terms that are below 0.

    Raises:
        ConfigError: one is, or is not finite.
    """
    for name, value in weights.items():
        if not (value >= 0 and math.isfinite(value)):
            raise ConfigError(f"{name} must be at least 0, not {value!r}")


@contextmanager
def held(network: nn.Module) -> Iterator[None]:
    """Let a network's parameters have no gradient of what is computed now."""
    learning = [value for value in network.parameters() if value.requires_grad]
    for value in learning:
        value.requires_grad_(False)
    try:
        yield
    finally:
        for value in learning:
            value.requires_grad_(True)


def _logged(terms: Terms) -> Terms:
    return {name: value.detach() for name, value in terms.items()}
