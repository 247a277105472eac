"""Self-made adversarial examples, whose source is known."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from withstand.attacks.attack import InputAttack
from withstand.attacks.inputs.gradient import PGD
from withstand.attacks.objectives import Margin
from withstand.core.devices.device import device_of_network
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import derive, permutation
from withstand.core.roles import Source
from withstand.core.threat import Ball
from withstand.core.victims.victim import Victim
from withstand.evaluation.defenses.tracing.calibration import Calibration, Cases
from withstand.evaluation.defenses.tracing.evidence import Reference, every_copy, gather
from withstand.models.pictures.tracers import TracedCopies

RADII = (4 / 255, 8 / 255, 16 / 255, 32 / 255)
"""Radii of self-made attacks, Linf."""


def attacks(radii: Sequence[float] = RADII, steps: int = 20) -> tuple[InputAttack, ...]:
    """Return the attacks that examples are made with: by the margin, within one radius after the other."""
    return tuple(PGD(Ball("linf", eps), Margin(), steps=steps, drop_finished=True) for eps in radii)


@dataclass(frozen=True)
class Made:
    """Adversarial examples that were made on one network.

    Attributes:
        x: those that fool it, `(N, C, H, W)`.
        right: what they show, `(N,)`.
        rows: which of the pictures given they are, `(N,)`.
        tried: how many pictures could be attacked: those that it reads right.
    """

    x: Tensor
    right: Tensor
    rows: Tensor
    tried: int


def made_on(network: nn.Module, x: Tensor, right: Tensor, tries: Sequence[InputAttack], seed: int) -> Made:
    """Return the first success of attacks on each picture, in their order: the nearest, where radii grow.

    Args:
        network: pictures in [0, 1] in, logits out.
        x: clean pictures.
        right: what they show; those that the network misreads anyway are left out.
        tries: attacks.
        seed: of their draws.
    """
    victim = Victim(network)
    with victim.held(), torch.no_grad():
        rows = (network(x).argmax(1) == right).nonzero()[:, 0]
    found, done, left = x.clone(), torch.zeros(len(x), dtype=torch.bool, device=x.device), rows
    for place, attack in enumerate(tries):
        if not len(left):
            break
        attacked = attack(victim, x[left], right[left], generator=derive(seed, "self-made", place) % 2**31)
        found[left] = attacked.x
        done[left[attacked.success]] = True
        left = left[~attacked.success]
    kept = done.nonzero()[:, 0]
    return Made(found[kept], right[kept], kept, len(rows))


def network_at(copies: TracedCopies, source: int) -> nn.Module:
    """Return the network of a source: a copy, or the classifier without a tracer behind the last one."""
    return copies.classifier if source == copies.tracers.count else copies.copy(source)


def clean(copies: TracedCopies, source: Source, count: int, seed: int) -> tuple[Tensor, Reference]:
    """Return some pictures of a source in [0, 1], and what tracers do on up to four times as many.

    Raises:
        DataError: pictures of another shape, or fewer than two.
    """
    if source.shape != copies.tracers.shape:
        raise DataError(f"the copies read pictures of shape {copies.tracers.shape}, and these have {source.shape}")
    rows = permutation(len(source), seed, "tracing")
    x = Victim(copies.classifier).ready(source[rows[: 4 * count]].x.to(device_of_network(copies)))
    label, _, told = every_copy(copies, x)
    return x[:count], Reference.of(told, label)


def calibrate(
    copies: TracedCopies,
    source: Source,
    *,
    samples: int = 64,
    tries: Sequence[InputAttack] | None = None,
    prior: float = 0.5,
    seed: int = 0,
) -> tuple[Reference, Calibration]:
    """Return what tracers do on clean pictures, and what evidence is worth, from attacks on every source.

    Args:
        copies: all of them; those that are kept back and the classifier alone stand for sources that nobody registered.
        source: clean pictures; their labels are not read, the classifier says what they show.
        samples: pictures that are attacked on each source.
        tries: attacks, `attacks()` if None.
        prior: the probability of an unknown source before any evidence.
        seed: of pictures and draws.

    Raises:
        ConfigError: less than two samples.
        DataError: pictures that do not fit, or that no attack succeeds on.
    """
    if samples < 2:
        raise ConfigError(f"samples, pictures that are attacked on each copy, must be at least 2, not {samples!r}")
    x, reference = clean(copies, source, samples, seed)
    right = every_copy(copies, x)[0]
    scores, sources = [], []
    for place in range(copies.tracers.count + 1):
        made = made_on(network_at(copies, place), x, right, attacks() if tries is None else tries, derive(seed, place))
        evidence = gather(copies, reference, made.x, made.right)
        usable = evidence.fooled.any(1)
        scores.append(evidence.score[usable])
        sources.append(torch.full((int(usable.sum()),), place))
    return reference, Calibration(Cases(torch.cat(scores), torch.cat(sources)), prior, seed)
