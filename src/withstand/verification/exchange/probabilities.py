"""Properties of probabilities, asked of the numbers that the softmax is given.

A softmax keeps the order of its inputs, and little else: `y_a <= y_b` says the same of both, `y_a <= 0.9` does not.
A threshold on one probability is a bound on a sum of exponentials, `1 / y_a - 1 = sum of exp(l_j - l_a)`: exact for two
classes; for more, what is asked of the inputs l is true wherever the property's own condition is, and maybe elsewhere.
So a proof is a proof. A counterexample has to be shown to the network itself, as always. Thresholds are put outward by
the rounding of the file's precision, in which a probability near 0 or 1 is soon 0 or 1.
"""

import math
from typing import Literal

import torch
from torch import Tensor

from withstand.core.errors import ConfigError
from withstand.verification.exchange.specification import Case, Polytope

Head = Literal["softmax", "log-softmax"]

_Rows = list[tuple[Tensor, float]]
_SLACK = 1e-12
"""By how much, relatively, a bound that is a logarithm is put outward."""


def on_inputs(case: Case, head: Head, eps: float) -> Case:
    """Return the same box, with the outputs that may not come out said of the softmax's inputs.

    Args:
        case: what is asked of the softmax's outputs.
        head: which softmax it is.
        eps: the precision's unit.

    Raises:
        ConfigError: the property reads values in a way that has no such form.
    """
    unsafe: list[Polytope] = []
    for polytope in case.unsafe:
        # A union of conjunctions, one factor a row.
        found: list[_Rows] = [[]]
        for weight, bound in zip(polytope.weight, polytope.bound.tolist(), strict=True):
            options = _row(weight, bound, head, eps)
            found = [rows + option for rows in found for option in options]
        for rows in found:
            weight = torch.stack([weight for weight, _ in rows]) if rows else polytope.weight[:1] * 0
            bounds = [bound for _, bound in rows] if rows else [0.0]  # true of every output
            unsafe.append(Polytope(weight, torch.tensor(bounds, dtype=torch.float64)))
    return Case(case.low, case.high, tuple(unsafe))


def _row(weight: Tensor, bound: float, head: Head, eps: float) -> list[_Rows]:
    """Return `weight @ y <= bound` as a union of conjunctions over the softmax's inputs; empty where it never holds."""
    used = weight.nonzero().flatten().tolist()
    if math.fsum(weight.tolist()) == 0 and (head == "log-softmax" or (bound == 0 and len(used) == 2)):
        return [[(weight, bound)]]  # differences: what is taken off all alike cancels
    if len(used) != 1:
        raise ConfigError(
            f"the property compares probabilities of the network's {head} in a way that cannot be bounded here: "
            "rankings like (<= Y_0 Y_1), and one output against a number, can be"
        )
    factor = weight[used[0]].item()
    limit = bound / factor
    outward = 4 * eps * (1 if head == "softmax" else 1 + abs(limit)) * (1 if factor > 0 else -1)
    threshold = _log_odds(limit + outward, head)
    if math.isinf(threshold):  # every probability lies on one side of it
        return [[]] if (threshold < 0) == (factor > 0) else []
    return _at_most(len(weight), used[0], threshold) if factor > 0 else _at_least(len(weight), used[0], threshold)


def _log_odds(limit: float, head: Head) -> float:
    """Return `log(1 / c - 1)` for the probability c that is the limit, or whose logarithm is; inf for 0, -inf for 1."""
    if head == "softmax":
        return math.inf if limit <= 0 else -math.inf if limit >= 1 else math.log1p(-limit) - math.log(limit)
    return -math.inf if limit >= 0 else math.log(-math.expm1(limit)) - limit


def _at_most(classes: int, place: int, threshold: float) -> list[_Rows]:
    """Return what follows from a probability of at most c: some other input lies above by so much."""
    share = threshold - math.log(classes - 1)
    share -= _SLACK * (1 + abs(share))
    return [[(_over(classes, place, [other]), -share)] for other in range(classes) if other != place]


def _at_least(classes: int, place: int, threshold: float) -> list[_Rows]:
    """Return what follows from a probability of at least c: no other input lies more above, nor do all on average."""
    threshold += _SLACK * (1 + abs(threshold))
    others = [other for other in range(classes) if other != place]
    rows = [(-_over(classes, place, [other]), threshold) for other in others]
    if len(others) > 1:
        rows.append((-_over(classes, place, others), threshold - math.log(classes - 1)))
    return [rows]


def _over(classes: int, place: int, others: list[int]) -> Tensor:
    """Return weights that give an input less the mean of others."""
    weight = torch.zeros(classes, dtype=torch.float64)
    weight[others] = -1 / len(others)
    weight[place] = 1
    return weight
