"""Attackers of many kinds, and the evidence that their adversarial examples leave.

Sizes: N examples, R registered copies.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from withstand.attacks.attack import InputAttack
from withstand.attacks.inputs.gradient import PGD
from withstand.core.random import derive
from withstand.core.threat import Ball
from withstand.evaluation.defenses.tracing.adversaries import Evading, MeanCopy, Smoothed
from withstand.evaluation.defenses.tracing.cases import RADII, Made, attacks, made_on
from withstand.evaluation.defenses.tracing.evidence import Reference, every_copy, gather
from withstand.models.pictures.tracers import TracedCopies

ONE, BEYOND, POOLED, AVOIDED, AVERAGED, BARE, BACK, ERRORS = (
    "one copy", "one copy, far beyond", "two copies' mean", "one copy, tracer avoided", "one copy, noise averaged out",
    "the classifier alone", "a copy that is kept back", "no attack: errors",
)  # fmt: skip
"""Who made the examples; of the last four kinds the source is none of the registered copies."""


@dataclass(frozen=True)
class Attempt:
    """What attackers of one kind made, and the evidence.

    Attributes:
        made: the examples of each attacker.
        members: the registered copies that each attacker had; none of who had none.
        score: of all examples, `(N, R)`.
        source: which attacker each is of, `(N,)`.
        fooled: whether each copy takes them for anything but what they show, bool `(N, R)`.
    """

    made: tuple[Made, ...]
    members: tuple[tuple[int, ...], ...]
    score: Tensor
    source: Tensor
    fooled: Tensor

    @property
    def tried(self) -> int:
        """How many pictures were attacked."""
        return sum(made.tried for made in self.made)

    @property
    def parts(self) -> Tensor:
        """Which copies had a part in each example, bool `(N, R)`."""
        table = torch.zeros(len(self.members), self.score.shape[1], dtype=torch.bool)
        for row, members in enumerate(self.members):
            table[row, list(members)] = True
        return table[self.source]

    @property
    def right(self) -> Tensor:
        """Whether the highest score of each example is that of a copy with a part in it, bool `(N,)`."""
        return self.parts.gather(1, self.score.argmax(1, keepdim=True))[:, 0]

    @property
    def transferred(self) -> Tensor:
        """Whether each example fools each copy without a part in it, one after the other, bool."""
        return self.fooled[~self.parts]


def attempt(
    copies: TracedCopies,
    reference: Reference,
    x: Tensor,
    kind: str = ONE,
    *,
    most: int | None = None,
    steps: int = 10,
    seed: int = 0,
) -> Attempt:
    """Return what attackers of one kind make of the same pictures, each on a network of his own.

    Args:
        copies: all of them.
        reference: of the same copies.
        x: clean pictures in [0, 1].
        kind: one of the kinds above but the last.
        most: how many attackers; one for each copy if None.
        steps: of each attack, within each radius.
        seed: of their draws.
    """
    right = every_copy(copies, x)[0]
    tries: Sequence[InputAttack] = attacks(steps=steps)
    if kind == BEYOND:
        tries = (PGD(Ball("linf", RADII[-1]), steps=steps),)
    made: list[Made] = []
    members: list[tuple[int, ...]] = []
    for network, parts in _attacked(copies, kind, copies.registered if most is None else most, seed):
        made.append(made_on(network, x, right, tries, derive(seed, kind, len(made))))
        members.append(parts)
    return gathered(copies, reference, made, members)


def gathered(
    copies: TracedCopies, reference: Reference, made: Sequence[Made], members: Sequence[tuple[int, ...]]
) -> Attempt:
    """Return examples with their evidence; those that fool no copy leave none, and are left out."""
    x, right = torch.cat([each.x for each in made]), torch.cat([each.right for each in made])
    source = torch.repeat_interleave(torch.tensor([len(each.x) for each in made]))
    evidence = gather(copies, reference, x, right)
    fooled = evidence.fooled.cpu()
    some = fooled.any(1)
    return Attempt(tuple(made), tuple(members), evidence.score.cpu()[some], source[some], fooled[some])


def _attacked(copies: TracedCopies, kind: str, most: int, seed: int) -> Iterator[tuple[nn.Module, tuple[int, ...]]]:
    """Yield the networks that attackers of a kind go by, with the registered copies that they have."""
    count = copies.registered
    if kind == BARE:
        yield copies.classifier, ()
        return
    if kind == BACK:
        yield from ((copies.copy(count + place), ()) for place in range(copies.reserve))
        return
    for place in range(min(most, count)):
        copy, other = copies.copy(place), (place + 1) % count
        if kind == POOLED:
            yield MeanCopy([copy, copies.copy(other)]), (place, other)
        elif kind == AVOIDED:
            yield Evading(copy), (place,)
        elif kind == AVERAGED:
            yield Smoothed(copy, seed=derive(seed, "averaged")), (place,)
        else:
            yield copy, (place,)
