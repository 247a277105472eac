"""Margins: how far a class stands above each other one, all over a region.

Sizes: `N` samples, `C` classes, `K` functions of the outputs.
"""

from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor

from withstand.core.errors import DataError
from withstand.verification.bounds.alpha import DEFAULT, Ascent, alpha_bounds
from withstand.verification.bounds.crown import MEMORY, check_method, interval_bounds, output_bounds, relax_network
from withstand.verification.network.network import Network
from withstand.verification.specification.box import Region
from withstand.verification.specification.verdict import Late, never

BoundMethod = Literal["ibp", "crown-ibp", "crown", "alpha-crown"]
METHODS: tuple[str, ...] = get_args(BoundMethod)


def margin_weights(y: Tensor, classes: int) -> Tensor:
    """Return the functions `f_y - f_j` of all j that are not y, float64 `(N, C - 1, C)`.

    Raises:
        DataError: labels outside the classes.
    """
    if y.dim() != 1 or y.is_floating_point() or (len(y) and not 0 <= int(y.min()) <= int(y.max()) < classes):
        raise DataError(f"y must be integer labels in [0, {classes}), (N,), not {y.dtype} {tuple(y.shape)}")
    unit = torch.eye(classes, dtype=torch.float64, device=y.device)
    others = torch.arange(classes - 1, device=y.device)[None] + (
        torch.arange(classes - 1, device=y.device) >= y[:, None]
    )
    return unit[y][:, None] - unit[others]


def bound(
    network: Network,
    region: Region,
    weight: Tensor,
    method: str = "crown",
    *,
    target: float = float("inf"),
    ascent: Ascent = DEFAULT,
    memory: int = MEMORY,
    late: Late = never,
) -> Tensor:
    """Return proven lower bounds of linear functions of the output over each region, float64 `(N, K)`.

    They hold in exact arithmetic for the network's weights, whatever its precision: rounding is paid for.
    Tighter methods give no lower bounds than cheaper ones.

    Args:
        network: from `capture`; its dtype is what is computed in.
        region: N regions.
        weight: the functions, `(N, K, outputs)`.
        method: "ibp", "crown-ibp", "crown" or "alpha-crown".
        target: "alpha-crown" stops at bounds above it.
        ascent: how "alpha-crown" optimises.
        memory: bytes that one backward pass may hold.
        late: once it says so, cheaper bounds stand for what is left.
    """
    check_method(method, METHODS)
    region = region.to(network.dtype)
    relaxed = relax_network(
        network,
        region,
        intermediate="crown" if method in ("crown", "alpha-crown") else "ibp",
        memory=memory,
        late=late,
    )
    found = interval_bounds(relaxed, weight)
    if method == "ibp":
        return found
    found = torch.maximum(found, output_bounds(relaxed, weight, memory=memory, late=late))
    if method == "alpha-crown":
        found = alpha_bounds(relaxed, weight, found, ascent=ascent, target=target, memory=memory, late=late)
    return found


def least_margin(
    network: Network,
    region: Region,
    weight: Tensor,
    method: str = "crown",
    *,
    target: float = 0.0,
    ascent: Ascent = DEFAULT,
    memory: int = MEMORY,
    late: Late = never,
) -> Tensor:
    """Return each sample's smallest bound, float64 `(N,)`; what float32 leaves close to the target is done in float64.

    Args:
        network: in float64, as captured; used in float32 first.
        region: N regions.
        weight: the functions, `(N, K, outputs)`.
        method: as in `bound`.
        target: the value that a bound has to exceed to be worth something.
        ascent: how "alpha-crown" optimises.
        memory: bytes that one backward pass may hold.
        late: once it says so, cheaper bounds stand for what is left.
    """
    if not weight.shape[1]:
        raise DataError("a margin needs at least two classes")
    bounded = partial(bound, method=method, target=target, ascent=ascent, memory=memory, late=late)
    quick = bounded(network.to(torch.float32), region, weight).amin(1)
    quick = torch.where(torch.isfinite(quick), quick, -torch.inf)
    near = (quick <= target) & (quick > target - 0.05 * (1e-3 + quick[torch.isfinite(quick)].abs().median()))
    near |= ~torch.isfinite(quick)  # float32 may not have the numbers
    rows = near.nonzero().squeeze(1)
    if len(rows) and not late():
        exact = bounded(network, region[rows], weight[rows]).amin(1)
        quick[rows] = torch.maximum(quick[rows], exact)
    return quick
