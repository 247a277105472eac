"""Tilt of a deep network, sample by sample: its boundary is taken for linear at the sample. An extension of this
package; Tanay and Griffin treat linear classifiers.

For the predicted class `a` and the runner-up `b`, `f = z_a - z_b` has the local distance `|f| / ||grad f||` and the
local deviation angle between `grad f` and the difference of the two classes' mean inputs.
"""

import torch
from torch import Tensor

from withstand.core.errors import DataError
from withstand.core.findings.finding import Table
from withstand.core.victims.victim import Victim

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def class_means(x: Tensor, y: Tensor) -> Tensor:
    """Return the mean sample of each class `0 ... K - 1`, float64 `(K, D)`.

    Raises:
        DataError: a class without samples.
    """
    rows, count = x.detach().cpu().double().flatten(1), int(y.max()) + 1
    sizes = torch.bincount(y.cpu(), minlength=count)
    if not bool(sizes.all()):
        raise DataError(f"class {int((sizes == 0).nonzero()[0])} has no samples, so it has no mean")
    sums = torch.zeros(count, rows.shape[1], dtype=torch.float64).index_add_(0, y.cpu(), rows)
    return sums / sizes[:, None]


def local_tilt(victim: Victim, x: Tensor, means: Tensor, *, batch: int = 256) -> tuple[Tensor, Tensor]:
    """Return the local L2 distance to the boundary and the local deviation angle in degrees, float64 `(N,)` each.

    Args:
        victim: gives logits `(N, K)`, sample by sample.
        x: inputs in the victim's range.
        means: mean input of each class `(K, D)`, as from `class_means`.
        batch: samples at once.
    """
    distances, angles = [], []
    with victim.held(), torch.enable_grad():
        for start in range(0, len(x), batch):
            inputs = x[start : start + batch].detach().clone().requires_grad_(True)
            logits = victim.output(inputs)
            top = logits.detach().topk(2, dim=1).indices
            lead = logits.gather(1, top[:, :1]) - logits.gather(1, top[:, 1:])
            (gradient,) = torch.autograd.grad(lead.sum(), inputs)
            slope = gradient.detach().cpu().double().flatten(1)
            size = slope.norm(dim=1)
            if not bool(size.all()):
                raise DataError("the network is flat at some samples: there is no direction to measure")
            distances.append(lead.detach().cpu().double()[:, 0] / size)
            axis = means[top[:, 0].cpu()] - means[top[:, 1].cpu()]
            unit = axis / axis.norm(dim=1, keepdim=True)
            along = (slope * unit).sum(1)
            across = (slope - along[:, None] * unit).norm(dim=1)
            angles.append(torch.rad2deg(torch.atan2(across, along)))
    return torch.cat(distances), torch.cat(angles)


def quantiles(distance: Tensor, angle: Tensor) -> Table:
    """Return the quantiles of both, for the report."""
    shares = torch.tensor(QUANTILES, dtype=torch.float64)
    rows = zip(QUANTILES, distance.quantile(shares).tolist(), angle.quantile(shares).tolist(), strict=True)
    columns = ("quantile", "local distance", "local deviation angle")
    return Table(columns, tuple(rows), units={columns[0]: "ratio", columns[1]: "distance", columns[2]: "degrees"})
