"""InputAttack: what all attacks on inputs have in common, so that each is only its own search.

The call checks the inputs, holds the victim, cuts the work into chunks, confines what the search found
to ball and range, and judges it anew. A sample's draws hang on its place alone, so its result does not
depend on its chunk.
"""

import math
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Self, final, get_args

import torch
from torch import Tensor

from withstand.attacks.fast_passes.folding import folded
from withstand.attacks.objectives import AttackLoss, CrossEntropy, Objective, as_objective
from withstand.attacks.problem import Problem, layout_and_writes, make_problem
from withstand.core.errors import ConfigError, DataError
from withstand.core.options import ConvexNorm
from withstand.core.random import Draws, as_draws
from withstand.core.roles import Attack, Attacked
from withstand.core.threat import Ball, Norm
from withstand.core.victims.victim import Victim


@dataclass(frozen=True)
class InputAttack(Attack):
    """Base of attacks that search a ball round each input. A subclass gives `search`.

    Args:
        ball: how far an input may be moved, and whether to a chosen class.
        objective: what is raised; a plain function `(outputs, y, x) -> (N,)` is taken to judge logits.

    Attributes:
        tokens: whether it takes a ball round each token: a search does that leaves sizes, directions and projections
            to the ball and reckons with no sample as a whole.
        norms: the balls that its search goes by, where a constructor says no more.
    """

    tokens: ClassVar[bool] = False
    norms: ClassVar[tuple[Norm, ...]] = get_args(ConvexNorm)

    ball: Ball = Ball()  # noqa: RUF009 - a frozen value
    objective: Objective | AttackLoss = CrossEntropy()  # noqa: RUF009 - a frozen value

    @property
    def bears_half_precision(self) -> bool:
        """Whether the search does as well in half precision: it looks at successes and slopes, not at small rises."""
        return False

    def check_ball(self) -> None:
        """Refuse a ball that the search does not go by.

        Raises:
            ConfigError: a ball in another norm; or round each token, where the search moves samples as wholes.
        """
        if self.ball.norm not in self.norms:
            allowed = " or ".join(repr(norm) for norm in self.norms)
            raise ConfigError(f"{type(self).__name__} takes norm {allowed}, not {self.ball.norm!r}")
        if not self.tokens:
            self.ball.refuse_tokens(type(self).__name__)

    @abstractmethod
    def search(self, problem: Problem, start: Tensor | None, draws: Draws) -> Tensor:
        """Return the worst inputs found for one chunk.

        Args:
            problem: the chunk; its `gradient` and `values` are the only way to the victim.
            start: points to begin with, inside ball and range; None for the attack's own choice.
            draws: each sample's own stream.
        """

    def settled(self, problem: Problem, found: Tensor) -> Tensor:
        """Return what the search found inside ball, range and mask."""
        return problem.confine(found)

    def at(self, eps: float, norm: Norm | None = None) -> Self:
        """Return the same attack with another radius, and another norm where one is given."""
        return replace(self, ball=replace(self.ball, eps=eps, norm=norm or self.ball.norm))

    @final
    def __call__(
        self,
        victim: Victim,
        x: Tensor,
        y: Tensor | None = None,
        *,
        generator: Draws | torch.Generator | int | None = None,
        start: Tensor | None = None,
        mask: Tensor | None = None,
        batch: int = 64,
        half_precision: bool = False,
    ) -> Attacked:
        """Attack inputs `x` `(N, ...)` in the victim's range.

        Args:
            victim: the model under attack.
            x: clean inputs, of any shape.
            y: true labels, or the wanted ones when the ball is targeted; None stands for the victim's own
                clean output.
            generator: draws, a torch generator or a seed.
            start: where to begin, say what a smaller ball's attack found.
            mask: where change is allowed, bool, broadcast to `x`.
            batch: samples attacked at once, at most; more on an accelerator; alters memory and speed, not results.
            half_precision: search on a copy of the victim in bfloat16, where the attack may and the processor is faster
                so; the victim itself is asked what that leaves in doubt.

        Raises:
            ConfigError: a ball that the attack does not take.
            DataError: inputs out of range, a `y` that does not fit, a victim that gives NaN or no gradient.
        """
        self.check_ball()
        x = victim.check(x.detach())
        given = {"y": y, "start": start}
        for name, value in given.items():
            if value is not None and len(value) != len(x):
                raise DataError(f"{name} has {len(value)} rows, x has {len(x)}")
        if y is None and self.ball.targeted:
            raise ConfigError("a targeted attack needs the wanted classes or embeddings as y")
        draws = as_draws(generator, len(x), x.device)
        if len(draws) != len(x):
            raise ConfigError(f"generator holds draws for {len(draws)} samples, x has {len(x)}")
        if mask is not None:
            mask = mask.to(x.device, torch.bool).expand_as(x)
        if not len(x):
            nothing = x.new_empty(0)
            return Attacked(x, nothing.bool(), nothing, nothing, nothing.long())
        victim.examine(x)
        with victim.held():
            layout, copies = layout_and_writes(victim, x[:1])
            fast = folded(victim, x[:2].contiguous(memory_format=layout))
            rough = None
            if half_precision and self.bears_half_precision:
                from withstand.attacks.autoattack.shortcuts.half_precision import halved

                rough = halved(fast, x[:8].contiguous(memory_format=layout))
            parts = []
            size = math.ceil(len(x) / math.ceil(len(x) / batch))  # even chunks: a small last one would be slow
            for first in range(0, len(x), size):
                rows = slice(first, first + size)
                labels, begin, free = (None if value is None else value[rows] for value in (y, start, mask))
                clean = x[rows].contiguous(memory_format=layout)
                problem = make_problem(
                    victim, as_objective(self.objective), self.ball, clean, labels, free, copies=copies
                )
                posed = replace(problem, victim=fast)
                if rough is None:
                    found = self._found(posed, begin, draws[rows])
                else:
                    found = self._found_by(rough, posed, begin, draws[rows])
                parts.append(self._judge(problem, found.contiguous()))
        return Attacked(*(torch.cat([getattr(part, name) for part in parts]) for name in Attacked.__slots__))

    def _found(self, problem: Problem, start: Tensor | None, draws: Draws) -> Tensor:
        if not self.ball.eps:
            return problem.x if problem.asked_in is None else problem.x.to(problem.asked_in)
        first = None if start is None else problem.confine(torch.empty_like(problem.x).copy_(start.detach()))
        found = self.settled(problem, self.search(problem, first, draws).detach())
        return problem.in_steps(problem.inside(found if problem.asked_in is None else found.to(problem.asked_in)))

    def _found_by(self, rough: Victim, problem: Problem, start: Tensor | None, draws: Draws) -> Tensor:
        """Search on a copy in half precision, and anew on the victim where that comes near and does not succeed."""
        from withstand.attacks.autoattack.shortcuts.half_precision import ERROR, NEAR

        found = self._found(replace(problem, victim=rough, model=problem.victim, doubt=ERROR), start, draws)
        with torch.no_grad():
            outputs = problem.outputs(found)
        missed = ~problem.objective.reached(outputs, problem.y, targeted=False) & problem.near(outputs, NEAR)
        if bool(missed.any()):
            part = problem.take(missed).alone()
            found[missed] = self._found(part, None if start is None else start[missed], draws[missed])
            problem.queries[missed] += part.queries
        return found

    def _judge(self, problem: Problem, found: Tensor) -> Attacked:
        """Judge on the model as it is, in the layout that the caller's own check will use: the last bits differ."""
        gain, success = problem.values(found)
        return Attacked(
            x=found,
            success=success,
            loss=-gain if self.ball.targeted else gain,
            norm=self.ball.size(found - problem.x),
            queries=problem.queries,
        )
