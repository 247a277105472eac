"""Steering: move a picture so that a network answers prompts about it with a chosen sentence.

paper: Visual Adversarial Examples Jailbreak Aligned Large Language Models (Qi et al., AAAI 2024), whose optimisation
    this is; only harmless sentences are meant to be wanted here: it measures one's own network.
A `Steered` network is a victim like any other: its outputs are how unlikely the sentence is after each prompt, so that
every attack by gradients, and every guard, takes it.
Sizes: `N` pictures, `P` prompts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from withstand.attacks.attack import InputAttack
from withstand.attacks.inputs.gradient import PGD
from withstand.attacks.objectives import Objective, pick
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import Draws
from withstand.core.roles import Attacked
from withstand.core.threat import Ball
from withstand.core.victims.answers import Outputs
from withstand.core.victims.victim import Victim
from withstand.models.tokens.picture_to_text import PictureToText

NLL, EXACT = "nll", "exact"
WHOLE = 1.0
"""The Linf radius within which every picture lies."""


class Steered(nn.Module):
    """A network with the prompts that an attacker asks it and the sentence that he wants to hear.

    Pictures are read once for all prompts.

    Args:
        network: what says something of pictures.
        prompts: those that the attacker knows of.
        target: the sentence.

    Raises:
        ConfigError: no prompts, or a sentence that the network cannot say.
    """

    def __init__(self, network: PictureToText, prompts: Sequence[str], target: str) -> None:
        super().__init__()
        if isinstance(prompts, str) or not prompts:
            raise ConfigError(f"prompts must be one or more, in a list, not {prompts!r}")
        network.require(target, "the target")
        self.network, self.prompts, self.target = network, tuple(prompts), target

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return the sentence's NLL in nats, and 1 where greedy decoding says it and nothing else, each `(N, P)`."""
        count = len(self.prompts)
        rows = torch.arange(len(x), device=x.device).repeat_interleave(count)
        targets = [self.target] * len(rows)
        scored = self.network.score(self.network.read(x), self.prompts * len(x), targets, rows)
        return {NLL: scored.nll.view(-1, count), EXACT: scored.exact.to(scored.nll.dtype).view(-1, count)}


@dataclass(frozen=True)
class Sentence(Objective):
    """How unlikely the wanted sentence is: the mean NLL over the prompts, in nats. It is met where all of them are.

    The `y` of an attack says nothing here, for the victim knows the sentence: zeros, `(N,)`. The ball is targeted.
    """

    def __call__(self, outputs: Outputs, y: Tensor, x: Tensor) -> Tensor:
        return pick(outputs, NLL).mean(1)

    def reference(self, outputs: Outputs) -> Tensor:
        return torch.zeros(len(pick(outputs, NLL)), dtype=torch.int64, device=pick(outputs, NLL).device)

    def reached(self, outputs: Outputs, y: Tensor, *, targeted: bool) -> Tensor:
        said = (pick(outputs, EXACT) == 1).all(1)
        return said if targeted else ~said

    def check(self, outputs: Outputs, y: Tensor) -> None:
        nll = pick(outputs, NLL)
        if nll.dim() != 2 or not nll.shape[1]:
            raise DataError(f"a steered network gives NLLs (N, P), not {tuple(nll.shape)}")


def steering(eps: float, steps: int, step: float) -> PGD:
    """Return the attack of the paper: signed steps from a random point of the ball, the best point kept.

    Args:
        eps: Linf radius, in input units of pictures in [0, 1].
        steps: how many.
        step: a step's length, 1/255 in the paper; more where as many could not cross the ball.
    """
    return PGD(Ball("linf", eps, targeted=True), Sentence(), steps=steps, step_size=max(step / eps, 1 / steps))


def steer(
    attack: InputAttack, victim: Victim, x: Tensor, draws: Draws, *, start: Tensor | None = None, batch: int = 64
) -> Attacked:
    """Return pictures moved towards the sentence of a steered victim.

    Args:
        attack: with a targeted ball and the objective `Sentence`.
        victim: of a `Steered` network, or what a guard of one exposes.
        x: clean pictures in [0, 1], `(N, C, H, W)`.
        draws: a stream for each.
        start: where to begin, say what was found within a smaller radius.
        batch: pictures that are attacked at once.
    """
    return attack(victim, x, x.new_zeros(len(x), dtype=torch.int64), generator=draws, start=start, batch=batch)


def unbound(attack: PGD, victim: Victim, x: Tensor, draws: Draws, *, batch: int = 64) -> Attacked:
    """Return pictures that were uniform noise and are moved as far as the range goes: the unconstrained attack.

    Args:
        attack: as for `steer`; its radius does not count.
        victim: as for `steer`.
        x: pictures of the size that is wanted; what they show does not count.
        draws: a stream for each.
        batch: pictures that are attacked at once.
    """
    noise = draws.child("noise").uniform(*x.shape[1:]).to(x)
    whole = replace(
        attack,
        ball=replace(attack.ball, eps=WHOLE),
        step_size=max((attack.step_size or 0.0) * attack.ball.eps, 1 / attack.steps),
    )
    y = x.new_zeros(len(x), dtype=torch.int64)
    return whole(victim, noise, y, generator=draws, start=noise, batch=batch)
