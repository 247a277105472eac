"""Checks that a robustness number can be believed (after Carlini et al., 2019, and AutoAttack's warnings).

An attack that fails does not show that the model withstands: its gradients may be useless. Each check is an independent
run, nothing warm-started, on the samples given; fifty to a hundred are enough. Two runs are compared sample by sample,
so that chance and single samples decide nothing, and a comparison in which nothing happened is not judged.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor

from withstand.attacks.attack import InputAttack
from withstand.attacks.autoattack.apgd import APGD
from withstand.attacks.inputs.gradient import PGD
from withstand.attacks.inputs.noise import Noise
from withstand.attacks.objectives import EmbeddingDistance, Margin, as_objective
from withstand.attacks.paired import at_least, little, outdone, still, stronger
from withstand.attacks.problem import NoGradient
from withstand.attacks.single_passes import (
    Found,
    check_surrogate,
    checkable,
    gradients,
    logits,
    same_twice,
    uphill,
)
from withstand.core.findings.finding import Check
from withstand.core.findings.norms import norms
from withstand.core.random import Draws, as_draws
from withstand.core.roles import Attacked
from withstand.core.victims.victim import Victim

Climb: TypeAlias = PGD | APGD
"""Attacks of a number of steps along the gradient."""

_NEARER = 0.1
"""The share of samples that an attack of any size may leave nearer to themselves than another sample lies."""


def believability(
    attack: Climb,
    victim: Victim,
    x: Tensor,
    y: Tensor | None = None,
    *,
    generator: Draws | torch.Generator | int | None = None,
    batch: int = 64,
    found: Found | None = None,
    together: bool = False,
) -> tuple[Check, ...]:
    """Return every check of `attack` on the victim; a victim without gradients is told after three of them.

    Args:
        attack: the attack whose numbers are in doubt, at the radius to be judged.
        victim: the model under attack.
        x: clean inputs, `(N, ...)`.
        y: labels; None for the victim's own clean output.
        generator: draws, a torch generator or a seed.
        batch: samples attacked at once.
        found: is told what each run found.
        together: whether the samples see one another, as nodes of a graph do, so that attacks raise the sum of their
            objectives, and no one's own as far as could be.

    Raises:
        DataError: no samples, or inputs out of range.
    """
    draws = as_draws(generator, len(x), x.device)
    x = checkable(victim, x)
    checks = [same_twice(victim, x), *([] if _on_embeddings(attack) else [logits(attack, victim, x)])]
    checks.append(gradients(attack, victim, x, y, draws))
    try:
        checks.append(uphill(attack, victim, x, y, draws, found, together=together))
        trial = _Trial.of(attack, victim, x, y, draws, batch, found)
        full = trial.harm(attack)
    except NoGradient:
        return tuple(checks)
    checks += [_more_steps(trial, attack, full), _converged(trial, attack, full), _larger_eps(trial, attack, full)]
    checks.append(_far(trial, attack) if _on_embeddings(attack) else _unlimited(trial, attack, together))
    if not _on_embeddings(attack):
        checks.append(_other_objective(trial, attack, full))
    return (*checks, _beats_noise(trial, attack, full))


def verdict(checks: Sequence[Check]) -> str:
    """Return one sentence: believable, or not and why."""
    failed = [check.detail for check in checks if check.passed is False]
    if failed:
        return f"Not believable because {'; '.join(failed)}."
    judged = sum(check.passed is not None for check in checks)
    open_ = [check.name for check in checks if check.passed is None]
    if judged <= len(open_):
        return f"Not judged: {len(open_)} of {len(checks)} checks could not tell." if checks else "Not checked."
    if not open_:
        return f"Believable: all {judged} checks passed."
    return f"Believable: {judged} checks passed, {len(open_)} could not be judged ({', '.join(open_)})."


def carried_over(
    attack: InputAttack,
    victim: Victim,
    surrogate: Victim,
    x: Tensor,
    y: Tensor | None = None,
    *,
    generator: Draws | torch.Generator | int | None = None,
    radii: Sequence[float] = (),
    batch: int = 64,
    found: Found | None = None,
) -> Check:
    """Check that attacks on another model, carried over, break less than attacks on the victim itself.

    Args:
        attack: run on both; its objective is judged on the victim. Where the victim gives no gradients, the attack on
            it breaks nothing.
        victim: the model under attack.
        surrogate: another model of the same inputs and labels.
        x: clean inputs, `(N, ...)`.
        y: labels; None for the victim's own predictions.
        generator: draws, a torch generator or a seed.
        radii: further ones at which attacks are carried over, for `found` alone.
        batch: samples attacked at once.
        found: is told what was carried over.

    Raises:
        DataError: the surrogate does not take these samples, or no gradient of it moves them.
    """
    draws = as_draws(generator, len(x), x.device)
    check_surrogate(attack, victim, surrogate, x, y, draws)
    trial = _Trial.of(attack, victim, x, y, draws, batch, found)
    for eps in radii:
        if eps != attack.ball.eps:
            trial.carried(attack.at(eps), surrogate, y)
    there = trial.carried(attack, surrogate, y)
    try:
        here = trial.harm(attack)
    except NoGradient:
        here = torch.zeros_like(there)
    return Check(
        "attacks on another model are weaker",
        stronger(here, there),
        f"{trial.did(attack, there)} by attacks on another model, {trial.did(attack, here)} by attacks on this one",
    )


@dataclass(frozen=True)
class _Trial:
    """The samples on which checks run.

    Attributes:
        y: what is judged by: labels, or the victim's own clean output.
        right: which samples are right when clean, bool `(N,)`; all of them where embeddings are moved.
    """

    victim: Victim
    x: Tensor
    y: Tensor
    right: Tensor
    draws: Draws
    batch: int
    found: Found | None

    @classmethod
    def of(
        cls,
        attack: InputAttack,
        victim: Victim,
        x: Tensor,
        y: Tensor | None,
        draws: Draws,
        batch: int,
        found: Found | None,
    ) -> "_Trial":
        """Return the trial of an attack's objective."""
        if y is None:
            reference = as_objective(attack.objective).reference
            with victim.held(), torch.no_grad():
                y = torch.cat([reference(victim(part.clone())) for part in torch.split(x, batch)])
        clean = attack.at(0)(victim, x, y, batch=batch)
        right = torch.ones_like(clean.success) if _on_embeddings(attack) else ~clean.success
        return cls(victim, x, y, right, draws, batch, found)

    def harm(self, attack: InputAttack) -> Tensor:
        """Return what an attack does: whether it breaks a sample that was right; of embeddings, how far they move."""
        return self.judged(attack, attack(self.victim, self.x, self.y, generator=self.draws, batch=self.batch))

    def carried(self, attack: InputAttack, surrogate: Victim, y: Tensor | None) -> Tensor:
        """Return what an attack on another model does here; without `y` it moves that model's own outputs."""
        away = attack(surrogate, self.x, y, generator=self.draws, batch=self.batch).x
        return self.judged(attack, attack.at(0)(self.victim, away, self.y, batch=self.batch))

    def judged(self, attack: InputAttack, result: Attacked) -> Tensor:
        """Return the same of what was found, and tell of it."""
        if self.found is not None:
            self.found(attack.ball, result.x, result.success)
        return result.loss if _on_embeddings(attack) else result.success & self.right

    def did(self, attack: InputAttack, harm: Tensor) -> str:
        """Return what a run did, in words."""
        if _on_embeddings(attack):
            return f"embeddings moved by {harm.mean().item():.3g}"
        return f"{int(harm.sum())} of {int(self.right.sum())} right samples broken"


def _more_steps(trial: _Trial, attack: Climb, full: Tensor) -> Check:
    fewer = _of(attack, max(attack.steps // 4, 1))
    weak = trial.harm(fewer)
    return Check(
        "more steps do not help the defender",
        at_least(full, weak) if fewer.steps < attack.steps else None,
        f"{trial.did(attack, weak)} after {fewer.steps} steps, {trial.did(attack, full)} after {attack.steps}",
    )


def _converged(trial: _Trial, attack: Climb, full: Tensor) -> Check:
    double = _of(attack, 2 * attack.steps)
    more = trial.harm(double)
    return Check(
        "twice the steps change little",
        None if still(more) and still(full) else _adds_little(full, more),
        f"{trial.did(attack, full)} after {attack.steps} steps, {trial.did(attack, more)} after {double.steps}",
    )


def _adds_little(base: Tensor, more: Tensor) -> bool:
    """Return whether a stronger run does little more: by a tenth, in distances."""
    if base.is_floating_point():
        return not outdone(base, more) or more.mean().item() <= 1.1 * base.mean().item()
    return little(max(int(more.sum()) - int(base.sum()), 0), len(base))


def _larger_eps(trial: _Trial, attack: Climb, full: Tensor) -> Check:
    more = trial.harm(attack.at(2 * attack.ball.eps))
    return Check(
        "a larger eps does not help the defender",
        at_least(more, full),
        f"{trial.did(attack, full)} within {_within(trial, attack)}, {trial.did(attack, more)} within twice that",
    )


def _within(trial: _Trial, attack: Climb) -> str:
    """Return an attack's ball as its victim's radii are told."""
    return norms(f"{attack.ball.norm} {trial.victim.scale.told(attack.ball.norm, attack.ball.eps)}")


def _whole(trial: _Trial, attack: Climb) -> Climb:
    """Return the attack that may change the whole input; where inputs have no range, by as much as samples differ."""
    span, entries = trial.victim.span, trial.x[0].numel()
    span = float(trial.x.max() - trial.x.min()) if math.isinf(span) else span
    return attack.at({"linf": span, "l2": span * entries**0.5, "l1": span * entries}[attack.ball.norm])


def _range(trial: _Trial) -> str:
    return "range of the samples" if math.isinf(trial.victim.span) else "input range"


def _unlimited(trial: _Trial, attack: Climb, together: bool) -> Check:
    left = int((trial.right & ~trial.harm(_whole(trial, attack))).sum())
    broken = little(left, len(trial.x)) if bool(trial.right.any()) else None
    partly = broken is False and trial.victim.changeable is not None  # what may not be changed may well be enough
    joint = broken is False and together
    return Check(
        "an unlimited eps breaks everything",
        None if partly or joint else broken,
        f"with the whole {_range(trial)} allowed, accuracy is still {left / len(trial.x):.0%}"
        + (", and some of the input may not be changed" if partly else "")
        + (", and samples that see one another are attacked by their sum" if joint else ""),
    )


def _far(trial: _Trial, attack: Climb) -> Check:
    """Check that an attack which may put any other input in place of a sample moves embeddings as far as that would."""
    moved = trial.harm(_whole(trial, attack))
    objective = as_objective(attack.objective)
    others = torch.stack(
        [objective(trial.y.roll(1, 0), trial.y, trial.x), objective(trial.y, trial.y.roll(1, 0), trial.x)]
    )
    others = others.mean(0)
    short = int((moved < others).sum())
    partly = trial.victim.changeable is not None
    told = len(trial.x) > 1 and not still(others)
    passed = little(short, len(moved), _NEARER) if told else None
    return Check(
        "an unlimited eps moves as far as another sample",
        None if passed is False and partly else passed,
        f"with the whole {_range(trial)} allowed, embeddings move by {moved.mean().item():.3g}; "
        f"those of two samples are {others.mean().item():.3g} apart",
    )


def _other_objective(trial: _Trial, attack: Climb, full: Tensor) -> Check:
    margin = replace(attack, objective=Margin(getattr(as_objective(attack.objective), "output", "logits")))
    other = trial.harm(margin)
    extra = int((other & ~full).sum())
    return Check(
        "another objective breaks little more",
        None if still(other) and still(full) else little(extra, len(full)),
        f"raising the margin breaks {extra} of {len(full)} samples that this attack leaves",
    )


def _beats_noise(trial: _Trial, attack: Climb, full: Tensor) -> Check:
    random = trial.harm(Noise(attack.ball, attack.objective))
    return Check(
        "noise of the same size is weaker",
        stronger(full, random),
        f"{trial.did(attack, random)} by noise of the same size, {trial.did(attack, full)} by the attack",
    )


def _of(attack: Climb, steps: int) -> Climb:
    """Return the attack with another number of steps, of the length that suits it."""
    return replace(attack, steps=steps, step_size=None) if isinstance(attack, PGD) else replace(attack, steps=steps)


def _on_embeddings(attack: InputAttack) -> bool:
    return isinstance(attack.objective, EmbeddingDistance)
