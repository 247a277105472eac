"""The continuous attack on a language model: a prompt's embeddings move within a ball round each, towards an answer.

paper: Efficient Adversarial Training in LLMs with Continuous Attacks (Xhonneux, Sordoni, Günnemann, Gidel, Schwinn;
    NeurIPS 2024), after Soft Prompt Threats (Schwinn et al., 2024).
Sizes: `B` texts, `L` ids of the longest, `D` width of embeddings.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from withstand.attacks.language.told import prompt_of, said, told_loss
from withstand.core.errors import ConfigError, nearest
from withstand.core.part import Part
from withstand.core.threat import Ball, parse_eps
from withstand.core.victims.victim import Victim
from withstand.data.text.container import Told
from withstand.models.tokens.causal import CausalLM

PUBLISHED_STEP = 1e-4


@dataclass(frozen=True, slots=True)
class MovedPrompts:
    """What the attack found.

    Attributes:
        delta: what is added to the embeddings, float32 `(B, L, D)`; 0 at answers and padding.
        before: the answers' mean cross-entropy after clean prompts, `(B,)`.
        after: after moved ones.
        reached: whether greedy decoding after the moved prompt gives the answer, bool `(B,)`.
    """

    delta: Tensor
    before: Tensor
    after: Tensor
    reached: Tensor


@dataclass(frozen=True)
class EmbeddingAttack(Part):
    """Steps along the gradient's sign, each followed by a projection; the last point is kept.

    A text's result does not depend on its company: signs do not change with a loss's scale.

    Args:
        eps: radius of the ball round each token's embedding, as a share of the mean length of the vocabulary's.
        steps: gradient steps; 0 moves nothing.
        step_size: what a step adds to each number of an embedding, in the embeddings' own units: 1e-4 as published. It
            suits models of some billion weights; None makes a step 2.5 / steps of the radius long, whatever the model.
        norm: of the ball: "l2", or "linf", whose radius is the L2 one over the root of D.
    """

    eps: float = 0.05
    steps: int = 10
    step_size: float | None = PUBLISHED_STEP
    norm: Literal["l2", "linf"] = "l2"

    def __post_init__(self) -> None:
        parse_eps(self.eps)
        if self.steps < 0:
            raise ConfigError(f"steps must be at least 0, not {self.steps!r}")
        if self.step_size is not None and not self.step_size > 0:
            raise ConfigError(f"step_size must be above 0, or None to follow the radius, not {self.step_size!r}")
        if self.norm not in get_args(Literal["l2", "linf"]):
            raise ConfigError(f"norm {self.norm!r} is unknown: {nearest(str(self.norm), ('l2', 'linf'))}")

    def ball(self, lm: CausalLM) -> Ball:
        """Return the ball round each token in a model's own units."""
        radius = self.eps * float(lm.table.float().norm(dim=1).mean())
        return Ball(self.norm, radius / (1 if self.norm == "l2" else lm.width**0.5), targeted=True, per="token")

    def step_of(self, ball: Ball, width: int) -> float:
        """Return what a step adds to each number of an embedding."""
        if self.step_size is not None:
            return self.step_size
        return 2.5 / max(self.steps, 1) * ball.eps / (width**0.5 if ball.norm == "l2" else 1)

    def delta(self, lm: CausalLM, texts: Told, *, keep_mode: bool = False) -> Tensor:
        """Return what is added to the embeddings of prompts, float32 `(B, L, D)`, to make answers likelier.

        The model's weights have no gradients meanwhile, and it is in eval mode, unless `keep_mode` leaves dropout on;
        both are as they were afterwards.
        """
        modes = {module: module.training for module in lm.modules()}
        with Victim(lm).held(), torch.enable_grad():
            if keep_mode:
                for module, mode in modes.items():
                    module.training = mode
            return self._search(lm, texts)

    def __call__(self, lm: CausalLM, texts: Told) -> MovedPrompts:
        """Attack prompts, and judge what was found."""
        with Victim(lm).held():
            with torch.enable_grad():
                delta = self._search(lm, texts)
            with torch.no_grad():
                clean = lm.embed(texts.ids)
                before = lm.from_embeddings(clean, texts.mask)
                after = lm.from_embeddings(clean + delta.to(clean.dtype), texts.mask)
        return MovedPrompts(delta, told_loss(before, texts), told_loss(after, texts), said(after, texts))

    def _search(self, lm: CausalLM, texts: Told) -> Tensor:
        clean, free = lm.embed(texts.ids).detach(), prompt_of(texts)[..., None]
        # Steps of 1e-4 would be lost in half precision.
        delta = torch.zeros_like(clean, dtype=torch.promote_types(clean.dtype, torch.float32))
        ball = self.ball(lm)
        step = self.step_of(ball, lm.width)
        for _ in range(self.steps if ball.eps else 0):
            delta.requires_grad_()
            moved = clean + delta.to(clean.dtype)
            loss = told_loss(lm.from_embeddings(moved, texts.mask), texts).sum()
            (slope,) = torch.autograd.grad(loss, delta)
            delta = ball.project((delta.detach() - step * slope.sign()) * free)
        return delta.detach()
