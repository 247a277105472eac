"""The worst of several attacks, each run only on what the ones before it left, resumable after a kill.

Sizes: `N` samples. Accuracies are shares of all samples, clean errors included.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from withstand.attacks.attack import InputAttack
from withstand.attacks.autoattack.ensemble_state import State, Store, Tally, fingerprint, victim_fingerprint
from withstand.attacks.checks import verdict
from withstand.attacks.objectives import as_objective
from withstand.attacks.problem import NoGradient
from withstand.core.errors import ConfigError
from withstand.core.findings.finding import Check
from withstand.core.part import describe
from withstand.core.random import Draws, as_draws
from withstand.core.threat import Ball
from withstand.core.victims.victim import Victim

ProverFunction = Callable[[Victim, Tensor, Tensor, Ball], Tensor]
"""`(victim, x, y, ball) -> bool (N,)`: which samples are proven to hold against all of the ball."""


@dataclass(frozen=True, slots=True)
class AttackProgress:
    """How far an ensemble is, or another list of attacks.

    Attributes:
        attack: the attack at work, or "prover", or "checks".
        done: samples that it is through with.
        queue: samples that it was given.
        accuracy: the robust accuracy so far, an upper bound; NaN where there is none to tell.
        seconds: spent in this session.
        remaining: an estimate of the seconds to the end of the list; infinite where it cannot be estimated yet.
        where: the ball, in words; empty where all attacks share one.
    """

    attack: str
    done: int
    queue: int
    accuracy: float
    seconds: float
    remaining: float
    where: str = ""


@dataclass(frozen=True, slots=True)
class Worst:
    """What a list of attacks left.

    Attributes:
        x: for each sample, the input that broke it, else the clean one.
        right: whether it was right before any change, bool `(N,)`.
        proven: whether the prover vouches for it; such samples were not attacked.
        winner: the place of the attack that broke it, -1 where none did.
        queries: forward passes spent on it.
        tallies: what each attack did, in order.
        checks: reasons to believe the accuracy, or not to.
    """

    x: Tensor
    right: Tensor
    proven: Tensor
    winner: Tensor
    queries: Tensor
    tallies: tuple[Tally, ...]
    checks: tuple[Check, ...] = ()

    @property
    def holds(self) -> Tensor:
        """Which samples are right under every attack, bool `(N,)`."""
        return self.right & (self.winner < 0)

    @property
    def clean_accuracy(self) -> float:
        """The share that is right before any change."""
        return _share(self.right)

    @property
    def accuracy(self) -> float:
        """The robust accuracy: the share that holds."""
        return _share(self.holds)

    @property
    def proven_accuracy(self) -> float:
        """The share that is proven to hold, a lower bound of what any attack can leave."""
        return _share(self.proven)

    @property
    def verdict(self) -> str:
        """One sentence: whether the accuracy is to be believed."""
        return verdict(self.checks)


def worst_of(
    attacks: Mapping[str, InputAttack],
    victim: Victim,
    x: Tensor,
    y: Tensor | None = None,
    *,
    generator: Draws | torch.Generator | int | None = None,
    mask: Tensor | None = None,
    batch: int = 64,
    state: Path | None = None,
    prover: ProverFunction | None = None,
    progress: Callable[[AttackProgress], None] | None = None,
    costs: Mapping[str, float] | None = None,
    half_precision: bool = False,
) -> Worst:
    """Run the attacks in order, each on the samples that are still right.

    An attack that the victim gives no gradients for is passed over, and its tally says so.

    Args:
        attacks: by name, all with the same ball.
        victim: the model under attack.
        x: clean inputs, `(N, ...)`.
        y: labels; None for the victim's own clean output.
        generator: draws, a torch generator or a seed. An attack's draws hang on its name, not on its place.
        mask: where change is allowed, bool, broadcast to `x`.
        batch: samples attacked at once.
        state: a file to resume from, and to keep up to date after every batch; left there at the end.
        prover: is asked first; what it proves is not attacked.
        progress: is told after every batch.
        costs: of each attack on one sample, relative to the others; for the estimate of the time left.
        half_precision: let attacks search on a copy of the victim in bfloat16 where that is faster; see `InputAttack`.

    Raises:
        RunError: the state belongs to other inputs or settings, or to another model.
    """
    if not attacks or len({attack.ball for attack in attacks.values()}) != 1:
        raise ConfigError("an ensemble needs attacks, all with the same ball")
    first = next(iter(attacks.values()))
    x = victim.check(x.detach())
    victim.examine(x)
    draws = as_draws(generator, len(x), x.device)
    if y is None:
        y = _own_outputs(first, victim, x, batch)
    mask = None if mask is None else mask.to(x.device, torch.bool).expand_as(x)
    prints = {
        "inputs": fingerprint(x),
        "labels": fingerprint(y),
        "mask": fingerprint(mask),
        "draws": fingerprint(draws.child("fingerprint").bits(1)),
        "model": "" if state is None else victim_fingerprint(victim),
        "attacks": json.dumps({name: describe(attack) for name, attack in attacks.items()}, sort_keys=True),
        "batch": str(batch),
        "prover": str(prover is not None),
        "precision": "half" if half_precision and _in_half(x.device) else "full",
    }
    store = Store(state, prints)
    now = store.load()
    if now is None:
        clean = first.at(0)(victim, x, y, batch=batch)
        now = State(
            x=clean.x.clone(),
            right=~clean.success,
            proven=torch.zeros_like(clean.success),
            winner=torch.full_like(clean.queries, -1),
            queries=clean.queries,
            place=0 if prover is None else -1,
            tallies=[Tally(name) for name in attacks],
        )
    for name in ("x", "right", "proven", "winner", "queries"):
        setattr(now, name, getattr(now, name).to(x.device))
    run = _Run(
        dict(attacks), victim, x, y, draws, mask, batch, prover, now, store, progress, costs or {}, half_precision
    )
    while now.place < len(attacks):
        run.stage()
        now.place, now.done = now.place + 1, 0
        store.save(now, now=True)
    return Worst(now.x, now.right, now.proven, now.winner, now.queries, tuple(now.tallies))


def _in_half(device: torch.device) -> bool:
    from withstand.attacks.autoattack.shortcuts.half_precision import fast_bfloat16

    return fast_bfloat16(device)


@dataclass
class _Run:
    """An ensemble at work."""

    attacks: dict[str, InputAttack]
    victim: Victim
    x: Tensor
    y: Tensor
    draws: Draws
    mask: Tensor | None
    batch: int
    prover: ProverFunction | None
    state: State
    store: Store
    progress: Callable[[AttackProgress], None] | None
    costs: Mapping[str, float]
    half_precision: bool

    def __post_init__(self) -> None:
        self.started = time.monotonic()

    def stage(self) -> None:
        """Run one attack, or the prover, on what is left of its queue."""
        state, queue = self.state, self.state.queue()
        begun, skipped = time.monotonic(), state.done
        while state.done < len(queue):
            rows = queue[state.done : state.done + self.batch]
            if state.place < 0:
                self._prove(rows)
            elif not self._attack(rows):
                break
            state.done += len(rows)
            self.store.save(state)
            if self.progress is not None:
                pace = (time.monotonic() - begun) / (state.done - skipped)
                self.progress(self._report(len(queue), pace))

    def _prove(self, rows: Tensor) -> None:
        assert self.prover is not None
        ball = next(iter(self.attacks.values())).ball
        proven = self.prover(self.victim, self.x[rows], self.y[rows], ball)
        if proven.dtype != torch.bool or proven.shape != rows.shape:
            raise ConfigError(f"a prover gives bool ({len(rows)},), not {proven.dtype} {tuple(proven.shape)}")
        self.state.proven[rows] = proven.to(rows.device)

    def _attack(self, rows: Tensor) -> bool:
        """Attack some samples; return whether the attack could run."""
        state = self.state
        tally = state.tallies[state.place]
        begun = time.monotonic()
        try:
            found = self.attacks[tally.name](
                self.victim,
                self.x[rows],
                self.y[rows],
                generator=self.draws.child(tally.name)[rows],
                mask=None if self.mask is None else self.mask[rows],
                batch=self.batch,
                half_precision=self.half_precision,
            )
        except NoGradient as error:
            tally.error = str(error)
            return False
        broken = rows[found.success]
        state.x[broken] = found.x[found.success]
        state.winner[broken] = state.place
        state.queries[rows] += found.queries
        tally.tried += len(rows)
        tally.broken += len(broken)
        tally.seconds += time.monotonic() - begun
        return True

    def _report(self, queue: int, pace: float) -> AttackProgress:
        state, names = self.state, list(self.attacks)
        open_ = int((state.right & ~state.proven & (state.winner < 0)).sum())
        name = "prover" if state.place < 0 else names[state.place]
        later = sum(self.costs.get(other, 1.0) for other in names[state.place + 1 :])
        remaining = pace * (queue - state.done + open_ * later / self.costs.get(name, 1.0))
        accuracy = _share(state.right & (state.winner < 0))
        return AttackProgress(name, state.done, queue, accuracy, time.monotonic() - self.started, remaining)


def _own_outputs(attack: InputAttack, victim: Victim, x: Tensor, batch: int) -> Tensor:
    reference = as_objective(attack.objective).reference
    if not len(x):
        return x.new_empty(0, dtype=torch.int64)
    with victim.held(), torch.no_grad():
        return torch.cat([reference(victim(part.clone())) for part in torch.split(x, batch)])


def _share(values: Tensor) -> float:
    return values.double().mean().item()
