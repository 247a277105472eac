"""The inner attack of adversarial training: on the model as it is trained, the whole batch at once.

`InputAttack.__call__` judges a finished model: it cuts the work into chunks, forces eval mode and judges what it
found. Here the attack's bare search runs on the whole batch, so that losses and batch normalisations that compare
samples see all of them, in eval mode or in the mode of training, and nothing is judged.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from withstand.attacks.attack import InputAttack
from withstand.attacks.fast_passes.folding import folded
from withstand.attacks.objectives import Objective, as_objective, pick
from withstand.attacks.problem import NoGradient, make_problem
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import Draws
from withstand.core.victims.victim import Outputs, Victim

Goal = Tensor | Callable[[Tensor], Tensor]
"""What an objective is handed as `y`: a tensor, or what makes it from the clean outputs."""


def attack_in_training(
    module: nn.Module,
    forward: Callable[[Tensor], Tensor],
    attack: InputAttack,
    x: Tensor,
    goal: Goal,
    draws: Draws,
    *,
    objective: Objective | None = None,
    train_mode: bool = False,
    start_noise: float | None = None,
    low: float = 0.0,
    high: float = 1.0,
    mask: Tensor | None = None,
    watch: Callable[[Tensor], None] | None = None,
) -> Tensor:
    """Return worse inputs for a model in training, shaped like `x`, without gradients.

    Parameters, their gradients, buffers (running statistics too), modes and the global generators are as they were
    afterwards. A model that has diverged, so that its outputs or their gradients are not finite, gets NaN: then the
    loss is not finite either, and whoever trains stops there, as for every other cause.

    Args:
        module: what owns the parameters.
        forward: from inputs to outputs, through `module`. A network, and not a function of another kind, is attacked
            faster in eval mode: its batch normalisations are folded away.
        attack: the search; with a radius of 0 the inputs come back as they are.
        x: clean inputs in [low, high], `(B, ...)`.
        goal: labels, or whatever the objective compares with.
        draws: each sample's own stream.
        objective: in place of the attack's own.
        train_mode: leave modes as they are: batch statistics in batch normalisations, live dropout. Else eval mode.
        start_noise: begin at normal noise of this size round the clean inputs, not where the attack would.
        low: smallest value that an input may have: pictures' 0, or minus infinity, as for embeddings.
        high: largest value.
        mask: where change is allowed, bool, broadcast to `x`: not in sequences' padding, say. None: everywhere.
        watch: is shown the outputs at every point from which the attack takes a step.

    Raises:
        ConfigError: a ball that the attack does not take.
        DataError: inputs outside [low, high] or not finite, labels that do not fit.
    """
    attack.check_ball()
    if attack.ball.eps == 0:
        return x.detach()
    victim = Victim(forward, low=low, high=high)
    x = victim.check(x.detach())
    chosen = as_objective(attack.objective) if objective is None else objective
    attack = replace(attack, objective=chosen)
    modes = {child: child.training for child in module.modules()}
    with Victim(module).held():
        if train_mode:
            for child, mode in modes.items():
                child.training = mode
        else:
            victim = folded(victim, x[:2])
        with torch.no_grad():
            y = goal if isinstance(goal, Tensor) else goal(forward(x)).detach()
        seen = victim if watch is None else victim.like(_shown(victim, watch))
        problem = make_problem(seen, chosen, attack.ball, x, y, None if mask is None else mask.expand_as(x))
        start = None
        if start_noise is not None:
            start = problem.confine(x + start_noise * draws.child("start").normal(*x.shape[1:]).to(x.dtype))
        try:
            return problem.confine(attack.search(problem, start, draws).detach())
        except NoGradient:
            raise
        except DataError:
            with torch.no_grad():
                outputs = forward(x)
                chosen.check(outputs, y)
                if chosen(outputs, y, x).shape != x.shape[:1]:
                    raise
            return torch.full_like(x, torch.nan)


def _shown(victim: Victim, watch: Callable[[Tensor], None]) -> Callable[[Tensor], Outputs]:
    def forward(x: Tensor) -> Outputs:
        outputs = victim(x)
        if x.requires_grad and isinstance(outputs, Tensor):
            watch(outputs.detach())
        return outputs

    return forward


class BatchLoss(Objective):
    """The outputs themselves, `(N, 1)`: one loss of the whole batch, on every row; a batch is attacked as one."""

    def __call__(self, outputs: Outputs, y: Tensor, x: Tensor) -> Tensor:
        return pick(outputs, "loss")[:, 0]

    def reference(self, outputs: Outputs) -> Tensor:
        return pick(outputs, "loss").detach()

    def reached(self, outputs: Outputs, y: Tensor, *, targeted: bool) -> Tensor:
        return torch.zeros_like(pick(outputs, "loss")[:, 0], dtype=torch.bool)

    def check(self, outputs: Outputs, y: Tensor) -> None:
        """Any loss is fine."""


def refuse_single_samples(attack: InputAttack) -> None:
    """Refuse an attack that cannot raise a loss of the whole batch.

    Raises:
        ConfigError: it has a target, or treats samples apart.
    """
    if attack.ball.targeted or getattr(attack, "drop_finished", False) or getattr(attack, "keep_best", False):
        raise ConfigError("the batch is attacked together: no target, drop_finished=False and keep_best=False")
