"""Two runs on the same samples: is one stronger, beyond what chance and single samples can do?

What a run did is its harm, `(N,)`: whether it broke each sample, bool, or how far it moved an embedding, float. Answers
have three values: None says that these samples cannot tell, above all where neither run did anything.
"""

import torch
from scipy.stats import binomtest, wilcoxon
from torch import Tensor

LEVEL = 0.05
"""Chance alone may contradict a check so often, at most."""

LITTLE = 0.02
"""The share of samples up to which something counts as little."""

_STILL = 1e-6
"""Embeddings that moved by no more did not move: the cosine of equal vectors in single precision differs by as much."""


def outdone(strong: Tensor, weak: Tensor) -> bool:
    """Return whether the run that should be the weaker one did more, beyond chance.

    Args:
        strong: harm of the run that should do at least as much.
        weak: harm of the other, on the same samples.
    """
    return _beyond_chance(weak, strong)


def at_least(strong: Tensor, weak: Tensor) -> bool | None:
    """Return whether a run does as much as one that should be no stronger; None where neither did anything."""
    if still(strong) and still(weak):
        return None
    return not outdone(strong, weak)


def stronger(strong: Tensor, weak: Tensor) -> bool | None:
    """Return whether a run does more than one that should be weaker.

    It must do so beyond chance. Embeddings that move no farther on average contradict it at once, broken samples when
    chance alone does not explain it.
    """
    if still(strong) and still(weak):
        return None
    if outdone(strong, weak) or (strong.is_floating_point() and strong.mean().item() <= weak.mean().item()):
        return False
    return True if _beyond_chance(strong, weak) else None


def little(extra: int, count: int, limit: float = LITTLE) -> bool:
    """Return whether so few samples of so many speak for a share of at most `limit`: one of sixteen does."""
    low = float(binomtest(extra, count).proportion_ci(0.95, method="wilson").low)
    return low <= limit


def still(harm: Tensor) -> bool:
    """Return whether a run did nothing at all."""
    return not bool((harm > _STILL).any()) if harm.is_floating_point() else not bool(harm.any())


def _beyond_chance(more: Tensor, less: Tensor) -> bool:
    """Return whether the first run did more, by the sign test of broken samples or Wilcoxon's of distances."""
    if not more.is_floating_point():
        ahead, behind = int((more & ~less).sum()), int((less & ~more).sum())
        return ahead > behind and float(binomtest(ahead, ahead + behind, alternative="greater").pvalue) < LEVEL
    difference = (more - less).double().cpu()
    if not bool((difference.abs() > _STILL).any()) or difference.mean().item() <= 0:
        return False
    tried = torch.where(difference.abs() > _STILL, difference, 0.0).numpy()
    return float(wilcoxon(tried, alternative="greater", zero_method="zsplit").pvalue) < LEVEL
