"""Checks that a robustness number can be believed (after Carlini et al., 2019, and AutoAttack's warnings).

An attack that fails does not show that the model withstands: its gradients may be useless. Each check is
an independent run, nothing warm-started, on the samples given; fifty to a hundred are enough.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from withstand.attacks.attack import InputAttack
from withstand.attacks.gradient import PGD
from withstand.attacks.noise import Noise
from withstand.attacks.objectives import EmbeddingDistance, Margin, as_objective, pick
from withstand.attacks.problem import NoGradient, pose
from withstand.core.errors import DataError
from withstand.core.finding import Check
from withstand.core.random import Draws, as_draws
from withstand.core.victim import Outputs, Victim

_DEAD = 1e-30
"""A gradient whose largest entry is below this is lost to rounding."""


def believability(
    attack: PGD,
    victim: Victim,
    x: Tensor,
    y: Tensor | None = None,
    *,
    generator: Draws | torch.Generator | int | None = None,
    batch: int = 64,
) -> tuple[Check, ...]:
    """Return every check of `attack` on the victim; a victim without gradients is told after three of them.

    Args:
        attack: the attack whose numbers are in doubt, at the radius to be judged.
        victim: the model under attack.
        x: clean inputs, `(N, ...)`.
        y: labels; None for the victim's own clean output.
        generator: draws, a torch generator or a seed.
        batch: samples attacked at once.

    Raises:
        DataError: no samples, or inputs out of range.
    """
    draws = as_draws(generator, len(x), x.device)
    x = checkable(victim, x)
    checks = [same_twice(victim, x), *([] if _on_embeddings(attack) else [logits(attack, victim, x)])]
    slopes = gradients(attack, victim, x, y, draws)
    checks.append(slopes)
    trial = _Trial(victim, x, y, draws, batch)
    try:
        full = trial.harm(attack)
    except NoGradient:
        return tuple(checks)
    checks += [_more_steps(trial, attack, full), _converged(trial, attack, full), _larger_eps(trial, attack, full)]
    if not _on_embeddings(attack):
        checks += [_unlimited(trial, attack), _other_objective(trial, attack, full)]
    return (*checks, _beats_noise(trial, attack, full))


def checkable(victim: Victim, x: Tensor) -> Tensor:
    """Return samples as checks take them: one at least, inside the victim's range."""
    if not len(x):
        raise DataError("checks need at least one sample")
    return victim.check(x.detach())


def verdict(checks: Sequence[Check]) -> str:
    """Return one sentence: believable, or not and why."""
    failed = [check.detail for check in checks if check.passed is False]
    if failed:
        return f"Not believable because {'; '.join(failed)}."
    judged = sum(check.passed is not None for check in checks)
    return f"Believable: all {judged} checks passed." if judged else "Not checked."


def same_twice(victim: Victim, x: Tensor) -> Check:
    """Check that equal inputs give equal outputs; a random defense needs gradients averaged over its draws."""
    with victim.held(), torch.no_grad():
        first, second = (_tensors(victim(x.clone())) for _ in range(2))
    shift = max(float((a - b).abs().max() / a.abs().max().clamp_min(1e-12)) for a, b in zip(first, second, strict=True))
    return Check(
        "same output twice",
        shift <= 1e-4,
        f"two forward passes on the same inputs differ by {shift:.2g} of the largest output",
    )


def logits(attack: PGD, victim: Victim, x: Tensor) -> Check:
    """Check that the victim gives logits: on probabilities the cross-entropy's gradient fades."""
    with victim.held(), torch.no_grad():
        scores = pick(victim(x.clone()), getattr(as_objective(attack.objective), "output", "logits"))
    sums = scores.sum(1)
    probabilities = bool(((scores >= 0) & (scores <= 1)).all()) and bool((sums - 1).abs().max() < 1e-3)
    return Check(
        "logits, not probabilities",
        not probabilities,
        "the victim's outputs are probabilities: give its logits"
        if probabilities
        else f"the victim's outputs lie in [{scores.min():.3g}, {scores.max():.3g}]",
    )


def gradients(attack: PGD, victim: Victim, x: Tensor, y: Tensor | None, draws: Draws) -> Check:
    """Check that the gradient at random points of the ball is there, for at least 95 % of samples."""
    name = "gradients are there"
    try:
        with victim.held():
            problem = pose(victim, as_objective(attack.objective), attack.ball, x, y)
            start = problem.confine(x + attack.ball.sample(x, draws.child("gradients")))
            slope = problem.gradient(start)[2]
    except NoGradient as error:
        return Check(name, False, str(error))
    dead = (slope.flatten(1).abs().amax(1) < _DEAD).float().mean().item()
    return Check(name, dead <= 0.05, f"the gradient is zero on {dead:.0%} of {len(x)} samples")


def carried_over(
    attack: InputAttack,
    victim: Victim,
    surrogate: Victim,
    x: Tensor,
    y: Tensor | None = None,
    *,
    generator: Draws | torch.Generator | int | None = None,
    batch: int = 64,
) -> Check:
    """Check that attacks on another model, carried over, break less than attacks on the victim itself.

    Args:
        attack: run on both; its objective is judged on the victim.
        victim: the model under attack.
        surrogate: another model of the same inputs and labels.
        x: clean inputs, `(N, ...)`.
        y: labels; None for the victim's own predictions.
        generator: draws, a torch generator or a seed.
        batch: samples attacked at once.
    """
    draws = as_draws(generator, len(x), x.device)
    own = attack(victim, x, y, generator=draws, batch=batch).success
    away = attack(surrogate, x, y, generator=draws, batch=batch).x
    carried = attack.at(0)(victim, away, y, batch=batch).success
    there, here = carried.float().mean().item(), own.float().mean().item()
    return Check(
        "attacks on another model are weaker",
        there <= here + max(0.02, 1.01 / len(x)),
        f"{there:.0%} broken by attacks on another model, {here:.0%} by attacks on this one",
    )


@dataclass(frozen=True)
class _Trial:
    """The samples on which checks run."""

    victim: Victim
    x: Tensor
    y: Tensor | None
    draws: Draws
    batch: int

    def harm(self, attack: PGD | Noise) -> Tensor:
        """Return what an attack does to each sample: 1 where it succeeds; for embeddings, the distance."""
        found = attack(self.victim, self.x, self.y, generator=self.draws, batch=self.batch)
        return found.loss if _on_embeddings(attack) else found.success.to(found.loss)

    def slack(self, full: Tensor) -> float:
        """Return by how much means may differ without meaning: one sample or 2 %."""
        return max(0.02, 1.01 / len(self.x)) * float(full.max().clamp_min(1e-12))


def _more_steps(trial: _Trial, attack: PGD, full: Tensor) -> Check:
    fewer = replace(attack, steps=max(attack.steps // 4, 1), step_size=None)
    weak, strong = trial.harm(fewer).mean().item(), full.mean().item()
    return Check(
        "more steps do not help the defender",
        strong >= weak - trial.slack(full),
        f"{_did(attack, weak)} after {fewer.steps} steps, {_did(attack, strong)} after {attack.steps}",
    )


def _converged(trial: _Trial, attack: PGD, full: Tensor) -> Check:
    double = replace(attack, steps=2 * attack.steps, step_size=None)
    base, more = full.mean().item(), trial.harm(double).mean().item()
    return Check(
        "twice the steps change little",
        more <= base + 2 * trial.slack(full),
        f"{_did(attack, base)} after {attack.steps} steps, {_did(attack, more)} after {double.steps}",
    )


def _larger_eps(trial: _Trial, attack: PGD, full: Tensor) -> Check:
    wide = attack.at(2 * attack.ball.eps)
    base, more = full.mean().item(), trial.harm(wide).mean().item()
    return Check(
        "a larger eps does not help the defender",
        more >= base - trial.slack(full),
        f"{_did(attack, base)} within {attack.ball}, {_did(attack, more)} within twice that",
    )


def _unlimited(trial: _Trial, attack: PGD) -> Check:
    span = trial.victim.high - trial.victim.low
    whole = span if attack.ball.norm == "linf" else span * trial.x[0].numel() ** 0.5
    left = 1 - trial.harm(attack.at(whole)).mean().item()
    held = left > 0.05 and trial.victim.changeable is not None  # what may not be changed may well be enough
    return Check(
        "an unlimited eps breaks everything",
        None if held else left <= 0.05,
        f"with the whole input range allowed, accuracy is still {left:.0%}"
        + (", and some of the input may not be changed" if held else ""),
    )


def _other_objective(trial: _Trial, attack: PGD, full: Tensor) -> Check:
    margin = replace(attack, objective=Margin(getattr(as_objective(attack.objective), "output", "logits")))
    extra = ((trial.harm(margin) > 0) & (full == 0)).float().mean().item()
    return Check(
        "another objective breaks little more",
        extra <= 0.05,
        f"raising the margin breaks {extra:.0%} of samples that this attack leaves",
    )


def _beats_noise(trial: _Trial, attack: PGD, full: Tensor) -> Check:
    random = trial.harm(Noise(attack.ball, attack.objective)).mean().item()
    found = full.mean().item()
    return Check(
        "noise of the same size is weaker",
        random <= found + trial.slack(full),
        f"{_did(attack, random)} by noise of the same size, {_did(attack, found)} by the attack",
    )


def _tensors(outputs: Outputs) -> list[Tensor]:
    return [outputs] if isinstance(outputs, Tensor) else list(outputs.values())


def _on_embeddings(attack: PGD | Noise) -> bool:
    return isinstance(attack.objective, EmbeddingDistance)


def _did(attack: PGD, harm: float) -> str:
    return f"embeddings moved by {harm:.3g}" if _on_embeddings(attack) else f"{harm:.0%} broken"
