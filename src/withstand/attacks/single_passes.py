"""What a few passes say of a victim: whether it answers twice alike, in logits, and whether its slopes are true."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from withstand.attacks.attack import InputAttack
from withstand.attacks.objectives import as_objective, pick
from withstand.attacks.paired import little
from withstand.attacks.problem import NoGradient, Problem, make_problem
from withstand.core.errors import DataError
from withstand.core.findings.finding import Check
from withstand.core.random import Draws
from withstand.core.threat import Ball, as_rows
from withstand.core.victims.victim import Outputs, Victim

Found: TypeAlias = Callable[[Ball, Tensor, Tensor], None]
"""Is told what each run of a check found, so that nothing is lost: ball, inputs, and which of them succeed."""

_DEAD = 1e-30
"""A gradient whose largest entry is below this is lost to rounding."""

_NO_USE = "nothing is found on it that could be carried over; name a model that can be differentiated"

WRONG_WAY = 0.1
"""The share of samples on which the objective may fall along its own gradient: a step is not infinitely short."""


def checkable(victim: Victim, x: Tensor) -> Tensor:
    """Return samples as checks take them: one at least, inside the victim's range."""
    if not len(x):
        raise DataError("checks need at least one sample")
    x = victim.check(x.detach())
    victim.examine(x)
    return x


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


def logits(attack: InputAttack, victim: Victim, x: Tensor) -> Check:
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


def gradients(attack: InputAttack, victim: Victim, x: Tensor, y: Tensor | None, draws: Draws) -> Check:
    """Check that the gradient at random points of the ball is there, on all but a few samples."""
    name = "gradients are there"
    try:
        with victim.held():
            slope = _somewhere(attack, victim, x, y, draws)[3]
    except NoGradient as error:
        return Check(name, False, str(error))
    dead = int((as_rows(slope).abs().amax(1) < _DEAD).sum())
    return Check(name, little(dead, len(x)), f"the gradient is zero on {dead / len(x):.0%} of {len(x)} samples")


def check_surrogate(
    attack: InputAttack, victim: Victim, surrogate: Victim, x: Tensor, y: Tensor | None, draws: Draws
) -> None:
    """Refuse a model on which no attack can be made that may be carried over to the victim.

    Raises:
        DataError: its inputs have another range, it does not take these samples or labels, or its gradient is missing
            or zero on each of the first.
    """
    ranges = [f"{one.low:g} to {one.high:g}" for one in (surrogate, victim)]
    if ranges[0] != ranges[1]:
        raise DataError(
            f"the surrogate's input range is {ranges[0]}, and the victim's is {ranges[1]}: give both the same, and the "
            "surrogate a normalize that fits"
        )
    few = slice(64)
    try:
        surrogate.examine(surrogate.check(x[few]))
        with surrogate.held():
            slope = _somewhere(attack, surrogate, x[few], None if y is None else y[few], draws[few])[3]
    except NoGradient as error:
        raise DataError(f"the surrogate gives no gradient for its input: {_NO_USE}") from error
    except DataError as error:
        raise DataError(f"the surrogate cannot be attacked: {error}") from error
    if bool((as_rows(slope).abs().amax(1) < _DEAD).all()):
        raise DataError(f"the surrogate's gradient is zero on each of {len(slope)} samples: {_NO_USE}")


def uphill(
    attack: InputAttack,
    victim: Victim,
    x: Tensor,
    y: Tensor | None,
    draws: Draws,
    found: Found | None = None,
    *,
    together: bool = False,
) -> Check:
    """Check that the objective rises along its gradient, and is the same whether a gradient is asked for or not.

    Raises:
        NoGradient: the victim gives none.
    """
    name = "the gradient points uphill"
    with victim.held():
        problem, start, gain, slope = _somewhere(attack, victim, x, y, draws)
        steps = [problem.step(start, sign * slope, attack.ball.eps / 10) for sign in (1, -1)]
        seen = [(point, *problem.values(point)) for point in (start, start, *steps)]
    plain, again, above, below = (value for _, value, _ in seen)
    if found is not None:
        for point, _, success in seen:
            found(attack.ball, point, success)
    slack = 1e-3 * (1 + plain.abs())
    other = int((((gain - plain).abs() > slack) & ((again - plain).abs() <= slack)).sum())
    if not little(other, len(x)):
        detail = f"the victim answers otherwise when a gradient is asked for, on {other / len(x):.0%} of samples"
        return Check(name, False, detail)
    if together:
        raised = float(above.sum()) > float(below.sum())
        return Check(name, raised, f"along its gradient the objective's sum {'rises' if raised else 'falls'}")
    alive = (as_rows(slope).abs().amax(1) >= _DEAD) & (above != below)
    judged, wrong = int(alive.sum()), int((alive & (above < below)).sum())
    if not judged:
        return Check(name, None, "no step along the gradient changes the objective")
    detail = f"along its gradient the objective falls on {wrong / judged:.0%} of {judged} samples"
    return Check(name, little(wrong, judged, WRONG_WAY), detail)


def _somewhere(
    attack: InputAttack, victim: Victim, x: Tensor, y: Tensor | None, draws: Draws
) -> tuple[Problem, Tensor, Tensor, Tensor]:
    """Return the problem, random points of the ball, and the gain and its gradient there, of a held victim."""
    problem = make_problem(victim, as_objective(attack.objective), attack.ball, x, y)
    start = problem.confine(x + attack.ball.sample(x, draws.child("gradients")))
    gain, _, slope = problem.gradient(start)
    return problem, start, gain, slope


def _tensors(outputs: Outputs) -> list[Tensor]:
    return [outputs] if isinstance(outputs, Tensor) else list(outputs.values())
