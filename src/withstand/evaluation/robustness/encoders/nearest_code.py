"""The decisive stage of an audit without labels: AutoAttack on the question whose clean code is nearest.

An encoder's samples are told apart by their clean codes, as classes are by logits: so the attacks on classifiers can
be put to an encoder too. Sizes: `N` samples, `K` different codes of width `D`.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from withstand.attacks.autoattack.apgd import APGD
from withstand.attacks.autoattack.autoattack import AutoAttack
from withstand.attacks.autoattack.square import Square
from withstand.attacks.objectives import EmbeddingDistance, pick
from withstand.attacks.paired import outdone
from withstand.core.findings.finding import Check
from withstand.core.victims.victim import Victim
from withstand.evaluation.robustness.audit_case import Case
from withstand.evaluation.robustness.classifiers.autoattack_stage import Aids, Decided, decide
from withstand.evaluation.robustness.classifiers.breaks import Breaks
from withstand.evaluation.robustness.encoders.shifts import TIE, Shifts

FARTHEST = APGD(restarts=5, objective=EmbeddingDistance())
"""Goes on where the curves' attack ended. The distance has many maxima: single runs fall short by a fifth."""

_SEARCH = Square(objective=EmbeddingDistance(threshold=2.5), queries=1000)
"""Its goal is farther than any cosine distance, so that it goes on to its end."""

_GAP = 5.0
"""Logits between a sample's own code and the nearest other one, by the median: neither flat nor saturated."""


class NearestCode(nn.Module):
    """Cosine similarities to the clean codes as logits, `(N, ...)` to `(N, K)`.

    Args:
        victim: gives embeddings.
        codes: unit-length clean codes, all different, `(K, D)`.
        scale: of the logits.
    """

    codes: Tensor

    def __init__(self, victim: Victim, codes: Tensor, scale: float) -> None:
        super().__init__()
        self.model = victim.model if isinstance(victim.model, nn.Module) else None  # so that it is held
        self.victim, self.scale = victim, scale
        self.register_buffer("codes", codes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        embedding = pick(self.victim(x), "embedding").flatten(1).float()
        return self.scale * F.normalize(embedding) @ self.codes.T


def by_code(victim: Victim, clean: Tensor) -> tuple[Victim, Tensor] | None:
    """Return the victim that answers with the nearest code, and each sample's own; None where all codes are the same.

    Args:
        victim: gives embeddings.
        clean: those of the clean samples, `(N, D)`.
    """
    unit = F.normalize(clean.flatten(1).float())
    likeness = unit @ unit.T
    first = (likeness > 1 - TIE).int().argmax(1)  # samples with the same code share it
    kept, own = torch.unique(first, return_inverse=True)
    if len(kept) < 2:
        return None
    others = likeness[kept][:, kept].fill_diagonal_(-torch.inf).amax(1)
    scale = _GAP / float((1 - others).median().clamp_min(TIE))
    answers = NearestCode(victim, unit[kept], scale)
    return Victim(answers, low=victim.low, high=victim.high, changeable=victim.changeable, levels=victim.levels), own


def farthest(case: Case, found: Shifts, start: Tensor) -> tuple[Tensor, Check]:
    """Move embeddings on from where they are, and check that a random search moves them little farther.

    Returns:
        The inputs found, and the check.
    """
    climbed = replace(FARTHEST, ball=case.ball)(
        case.victim, case.x, found.clean, generator=case.draws.child("apgd"), start=start, batch=case.batch
    )
    found.add(case.ball, climbed.x)
    few = case.few()
    count, draws = len(few.x), few.draws.child("search")
    search = replace(_SEARCH, ball=case.ball)
    searched = search(few.victim, few.x, found.clean[:count], generator=draws, batch=few.batch)
    found.add(case.ball, searched.x)
    far, near = searched.loss, climbed.loss[:count]
    more = outdone(near, far) and far.mean().item() > 1.1 * near.mean().item()
    detail = f"{far.mean().item():.3g} by random search, {near.mean().item():.3g} by gradients"
    return climbed.x, Check("random search moves embeddings little farther", not more, f"embeddings moved by {detail}")


def confuse(case: Case, ensemble: AutoAttack, aids: Aids, found: Shifts) -> Decided | None:
    """Put AutoAttack to the samples whose embeddings are still nearest to their own codes, and count what it finds."""
    asked = by_code(case.victim, found.clean)
    if asked is None:
        return None
    victim, own = asked
    norm, eps = case.ball.norm, case.ball.eps
    left = Breaks(case.x, ~found.who(norm, eps), {norm: (eps,)})
    decided = decide(replace(case, victim=victim, y=own), ensemble, replace(aids, prover=None), left)
    found.add(case.ball, left.worst(norm))
    return decided
