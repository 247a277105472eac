"""Exact search by mixed-integer linear programming (Tjeng, Xiao, Tedrake 2019), with SciPy's HiGHS.

For each polytope of bad outputs that CROWN does not exclude, the least excess over the box is found. HiGHS calculates
in floating point: what lies within its tolerance of 0 is left unknown, and every counterexample is shown to the real
network.
"""

import time

import numpy as np
import torch
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp
from threadpoolctl import threadpool_limits

from withstand.core.errors import ConfigError
from withstand.verification.bounds.crown import output_bounds, relax_network
from withstand.verification.exact.encoding import Array, Encoding, encode
from withstand.verification.exact.question import Question
from withstand.verification.exchange.specification import Polytope
from withstand.verification.specification.box import Region
from withstand.verification.specification.verdict import Verdict

_TIME_OUT = "time"
Rows = tuple[sparse.csr_array, Array, Array]
TOLERANCE = 1e-5
"""A least excess must be above this share of the largest number in the rows to count as a proof."""


def solve_milp(question: Question, *, timeout: float = 60.0) -> Verdict:
    """Answer a question exactly, up to the solver's tolerance.

    Args:
        question: of a network of linear operations, ReLUs and maxima.
        timeout: seconds for the whole question.

    Raises:
        ConfigError: a time-out that is not positive, or an operation without an exact encoding.
    """
    if not timeout > 0:
        raise ConfigError(f"timeout must be positive seconds, not {timeout}")
    start = time.monotonic()
    region = Region.box(question.low[None], question.high[None])
    relaxed = relax_network(question.network, region)
    encoding = encode(question.network, relaxed.boxes)
    # What CROWN proves already need not be searched.
    wanted = question.wanted
    known = wanted.per_group(output_bounds(relaxed, wanted.weight[None]) + wanted.offset)[0].tolist()
    rows = encoding.matrix()
    least, nodes, doubts = np.inf, 0, []
    for polytope, cheap in zip(question.unsafe, known, strict=True):
        if cheap > question.needed:
            least = min(least, cheap)
            continue
        left = timeout - (time.monotonic() - start)
        if left <= 0:
            doubts.append(f"out of time after {timeout:g} s")
            break
        bound, point, visited, failure = _least(encoding, rows, polytope, left)
        nodes += visited
        if point is not None:
            shown, miss = question.replayed(torch.from_numpy(point[: question.low.numel()]))
            if miss <= 0:
                spent = time.monotonic() - start
                return Verdict("unsafe", counterexample=shown, method="milp", seconds=spent, steps=nodes)
        slack = max(question.needed, _slack(encoding, rows, polytope))
        least = min(least, bound - slack)
        if failure:
            doubts.append(f"out of time after {timeout:g} s" if failure == _TIME_OUT else failure)
        elif not bound > slack:
            doubts.append(f"the least margin, {bound:.3g}, is within the solver's tolerance")
    spent = time.monotonic() - start
    if doubts:
        return Verdict("unknown", reason=doubts[0], method="milp", seconds=spent, steps=nodes)
    return Verdict("safe", margin=least, method="milp", seconds=spent, steps=nodes)


def _slack(encoding: Encoding, rows: Rows, polytope: Polytope) -> float:
    """Return how far the solver's tolerances may carry a least excess: a share of the largest number at work."""
    factors, shift = _excess(encoding, polytope)
    largest: Array = np.maximum(np.abs(encoding.low), np.abs(encoding.high))
    terms = largest @ np.abs(factors) + np.abs(shift)
    size = np.abs(np.concatenate([rows[1], rows[2], largest, terms, np.ones(1)]))
    return TOLERANCE * float(size[np.isfinite(size)].max())


def _excess(encoding: Encoding, polytope: Polytope) -> tuple[Array, Array]:
    """Return a polytope's excess as factors `(variables, M)` and shifts `(M,)`."""
    assert encoding.output is not None
    factors = encoding.output.widened(len(encoding.low)).flatten(1) @ polytope.weight.T
    return factors.numpy(), (polytope.weight @ encoding.output.constant.flatten() - polytope.bound).numpy()


def _least(encoding: Encoding, rows: Rows, polytope: Polytope, timeout: float) -> tuple[float, Array | None, int, str]:
    """Return (a lower bound of the least excess, the best point found, nodes, why it stopped early if it did)."""
    count = len(encoding.low)
    factors, shift = _excess(encoding, polytope)
    matrix, low, high = rows
    # One more variable, the excess: at least that of every row of the polytope.
    padded = sparse.hstack([matrix, sparse.csr_array((matrix.shape[0], 1))])
    excess = sparse.csr_array(np.concatenate([-factors.T, np.ones((len(shift), 1))], axis=1))
    limits = LinearConstraint(
        sparse.vstack([padded, excess]),
        np.concatenate([low, shift]),
        np.concatenate([high, np.full(len(shift), np.inf)]),
    )
    goal = np.zeros(count + 1)
    goal[-1] = 1
    bounds = Bounds(np.array([*encoding.low, -np.inf]), np.array([*encoding.high, np.inf]))
    with threadpool_limits(1):
        found = milp(
            goal,
            integrality=np.array([*encoding.binary, False], dtype=int),
            bounds=bounds,
            constraints=limits,
            options={"time_limit": timeout, "mip_rel_gap": 1e-6},
        )
    point = None if found.x is None else np.asarray(found.x)
    dual = getattr(found, "mip_dual_bound", None)
    bound = -np.inf if dual is None or not np.isfinite(dual) else float(dual)
    if bound == -np.inf and found.status == 0:
        bound = float(found.fun)  # without binaries there is no tree, and the optimum is the bound
    failure = "" if found.status == 0 else _TIME_OUT if found.status == 1 else " ".join(str(found.message).split())
    return bound, point, int(getattr(found, "mip_node_count", 0) or 0), failure
