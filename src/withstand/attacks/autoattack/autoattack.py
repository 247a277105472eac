"""AutoAttack (Croce and Hein, 2020): a fixed list of attacks without anything to tune, and checks of its result."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from withstand.attacks.attack import InputAttack
from withstand.attacks.autoattack.apgd import APGD
from withstand.attacks.autoattack.ensemble import AttackProgress, ProverFunction, Worst, worst_of
from withstand.attacks.autoattack.fab import FAB
from withstand.attacks.autoattack.square import Square
from withstand.attacks.checks import believability
from withstand.attacks.inputs.gradient import PGD
from withstand.attacks.objectives import DLR, CrossEntropy, Margin, pick
from withstand.attacks.single_passes import checkable, gradients, logits, same_twice
from withstand.core.errors import ConfigError, nearest
from withstand.core.findings.finding import Check
from withstand.core.part import Part
from withstand.core.random import Draws, as_draws
from withstand.core.threat import Ball, Norm
from withstand.core.victims.victim import Victim

_COSTS = {"APGD-CE": 1.0, "APGD-DLR": 1.0, "APGD-T": 9.0, "FAB": 20.0, "FAB-T": 13.0, "Square": 20.0}
"""Roughly, of each attack on one sample that holds."""


@dataclass(frozen=True)
class AutoAttack(Part):
    """Attacks of four kinds in a fixed order, each on what the ones before it left.

    Args:
        ball: any norm, untargeted.
        version: "standard" is APGD-CE, APGD-T, FAB-T, Square; "plus" adds APGD-DLR, FAB and restarts; "rand" is
            APGD-CE and APGD-DLR with gradients averaged over 20 passes, for a victim that draws at random.
        output: which entry holds the logits when the victim gives a dict.
        search: "plain" takes every step of the published algorithms. "fast" may find less: it searches deep
            convolutional networks in bfloat16 where the processor has matrix units for it, passes over squares that
            slopes rule out, and ends runs within Linf that lack more than they could still gain. Every success is
            the model's own in either case.
    """

    ball: Ball = Ball()  # noqa: RUF009 - a frozen value
    version: Literal["standard", "plus", "rand"] = "standard"
    output: str = "logits"
    search: Literal["plain", "fast"] = "plain"

    def __post_init__(self) -> None:
        for name in ("version", "search"):
            allowed, value = get_args(AutoAttack.__annotations__[name]), getattr(self, name)
            if value not in allowed:
                raise ConfigError(f"{name} {value!r} is unknown: {nearest(str(value), allowed)}")
        self.ball.refuse_tokens("AutoAttack")
        self.ball.refuse_l0("AutoAttack")
        if self.ball.targeted:
            raise ConfigError("AutoAttack chooses its targets itself: give a ball with targeted=False")

    def at(self, eps: float, norm: Norm | None = None) -> "AutoAttack":
        """Return the same with another radius, and another norm where one is given."""
        return replace(self, ball=replace(self.ball, eps=eps, norm=norm or self.ball.norm))

    def attacks(self) -> dict[str, InputAttack]:
        """Return the attacks by name, in order."""
        ball, output, l1 = self.ball, self.output, self.ball.norm == "l1"
        rand, plus, fast = self.version == "rand", self.version == "plus", self.search == "fast"
        # Once a sample is broken, AutoAttack has no use for a worse input.
        ascent = APGD(
            ball,
            CrossEntropy(output),
            restarts=5 if plus or (l1 and not rand) else 1,
            passes=20 if rand else 1,
            drop_finished=True,
        )
        ratio = replace(ascent, objective=DLR(output))
        targeted = replace(ratio, restarts=1, targets=5 if l1 and not plus else 9, give_up=fast)
        boundary = FAB(ball, Margin(output), targets=9, drop_finished=True, give_up=fast)
        black_box = Square(ball, Margin(output), rescale=False, screened=fast, give_up=fast)
        if rand:
            return {"APGD-CE": ascent, "APGD-DLR": ratio}
        if plus:
            return {
                "APGD-CE": ascent,
                "APGD-DLR": ratio,
                "FAB": replace(boundary, targets=None, restarts=5, give_up=False),
                "Square": black_box,
                "APGD-T": targeted,
                "FAB-T": boundary,
            }
        return {"APGD-CE": ascent, "APGD-T": targeted, "FAB-T": boundary, "Square": black_box}

    def __call__(
        self,
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
        checks: bool = True,
    ) -> Worst:
        """Attack inputs `x` `(N, ...)`; see `worst_of` for what is not said here.

        Args:
            victim: gives logits of at least two classes.
            x: clean inputs.
            y: labels; None for the victim's own predictions.
            generator: draws, a torch generator or a seed.
            mask: where change is allowed.
            batch: samples attacked at once.
            state: a file from which to go on after a kill.
            prover: samples that it proves are not attacked.
            progress: is told after every batch.
            checks: also run, on the first 64 samples, what makes the result believable.
        """
        draws = as_draws(generator, len(x), x.device)
        worst = worst_of(
            self.attacks(),
            victim,
            x,
            y,
            generator=draws,
            mask=mask,
            batch=batch,
            state=state,
            prover=prover,
            progress=progress,
            costs=_COSTS,
            half_precision=self.search == "fast",
        )
        if not checks or not len(x):
            return worst
        few = slice(0, 64)
        reasons = self.checks(victim, x[few], None if y is None else y[few], generator=draws[few], batch=batch)
        return replace(worst, checks=(*reasons, *outcome(worst)))

    def checks(
        self,
        victim: Victim,
        x: Tensor,
        y: Tensor | None = None,
        *,
        generator: Draws | torch.Generator | int | None = None,
        batch: int = 64,
    ) -> tuple[Check, ...]:
        """Return what speaks for and against believing AutoAttack on this victim, whatever it finds.

        Args:
            victim: the model under attack.
            x: clean inputs; fifty to a hundred are enough.
            y: labels; None for the victim's own predictions.
            generator: draws, a torch generator or a seed.
            batch: samples attacked at once.
        """
        # PGD has no L1 form: its slopes are looked at there, its success is not.
        attack = PGD(
            replace(self.ball, norm="linf" if self.ball.norm == "l1" else self.ball.norm),
            CrossEntropy(self.output),
            drop_finished=True,
        )
        draws = as_draws(generator, len(x), x.device).child("checks")
        x = checkable(victim, x)
        if self.version == "rand" or self.ball.norm == "l1":
            found = [same_twice(victim, x), logits(attack, victim, x), gradients(attack, victim, x, y, draws)]
        else:
            found = list(believability(attack, victim, x, y, generator=draws, batch=batch))
        if self.version == "rand":
            found[0] = replace(found[0], passed=None)
        elif found[0].passed is False:
            found[0] = replace(found[0], detail=f'{found[0].detail}: version="rand" is made for that')
        return (*found, *self.form(victim, x))

    def form(self, victim: Victim, x: Tensor) -> tuple[Check, ...]:
        """Return what the victim's form says: whether it optimises inside, and whether its classes are enough."""
        return _plain_forward(victim, x), self._enough_classes(victim, x)

    def _enough_classes(self, victim: Victim, x: Tensor) -> Check:
        with victim.held(), torch.no_grad():
            classes = pick(victim(x[:1].clone()), self.output).shape[1]
        return Check(
            "enough classes",
            None if classes < 4 else True,
            f"{classes} classes"
            + (": the margin stands for the DLR losses, which need four" if classes < 4 else "")
            + (f", so that all {classes - 1} wrong ones are aimed at" if classes < 10 else ""),
        )


class _Watch(TorchFunctionMode):
    """Counts the gradients that are asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        self.seen += func in (torch.autograd.grad, torch.autograd.backward, Tensor.backward)
        return func(*args, **(kwargs or {}))


def _plain_forward(victim: Victim, x: Tensor) -> Check:
    """Check that the victim does not optimise inside its forward pass, as purifiers and test-time defenses do."""
    watch = _Watch()
    with victim.held(), torch.no_grad(), watch:
        victim(x[:1].clone())
    return Check(
        "no optimisation inside",
        watch.seen == 0,
        f"one forward pass asks for gradients {watch.seen} times"
        + (": attack through that optimisation, or give the victim without it" if watch.seen else ""),
    )


def outcome(worst: Worst, total: int | None = None) -> tuple[Check, ...]:
    """Return what the outcome says of itself: attacks that could not run, and a black box that beats gradients.

    Args:
        worst: what AutoAttack left.
        total: the samples that shares are of, where AutoAttack was given only some of them.
    """
    total = total or len(worst.x)
    names = [tally.name for tally in worst.tallies]
    failed = [tally for tally in worst.tallies if tally.error]
    found = [
        Check(
            "every attack could run",
            not failed,
            f"{', '.join(tally.name for tally in failed)} could not run: {failed[0].error}" if failed else "all ran",
        )
    ]
    if "Square" in names and names.index("Square"):
        count = worst.tallies[names.index("Square")].broken
        found.append(
            Check(
                "random search adds little",
                # 0.2 % as in the official check; but one sample is nothing, however few there are.
                count <= max(1, 0.002 * total),
                f"Square, which uses no gradients, breaks {count} of {total} samples that gradients do not",
            )
        )
    return tuple(found)
