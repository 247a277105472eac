"""Losses on joint labels: the class of a sample together with the change that it was shown under.

Self-supervised Label Augmentation via Input Transformations (2020).

Sizes: B samples on this process, M changes, N classes. A sample's versions come after one another: row b M + j of the
joint logits is sample b under change j, and column y M + j is class y under change j.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from withstand.losses.precision import full_precision
from withstand.losses.temperature import Temperature, checked_temperature


def joint_labels(y: Tensor, changes: int) -> Tensor:
    """Return the labels of all versions, int64 `(B * M,)`, y M + j, from the samples' classes `(B,)`."""
    return (y[:, None] * changes + torch.arange(changes, device=y.device)).flatten()


@full_precision
def joint_cross_entropy(joint: Tensor, y: Tensor, changes: int) -> Tensor:
    """Return the mean over all versions of the cross-entropy on pairs of class and change, 0-d.

    Args:
        joint: logits `(B * M, N * M)`.
        y: classes `(B,)`.
        changes: M.
    """
    return F.cross_entropy(joint, joint_labels(y, changes))


def version_logits(joint: Tensor, changes: int) -> Tensor:
    """Return what each version says of the classes, given the change it is known to be under, `(B, M, N)`.

    Args:
        joint: logits `(B * M, N * M)`.
        changes: M.
    """
    grid = joint.view(-1, changes, joint.shape[1] // changes, changes)
    return grid.diagonal(dim1=1, dim2=3).transpose(1, 2)


@full_precision
def distilled(teacher: Tensor, student: Tensor, temperature: Temperature = 1.0) -> Tensor:
    """Return T^2 KL(softmax(teacher / T) || softmax(student / T)), the mean over samples, 0-d.

    Args:
        teacher: logits `(B, N)`; no gradient reaches them.
        student: logits `(B, N)`.
        temperature: T, above 0.
    """
    tau = checked_temperature(temperature)
    wanted, given = ((logits / tau).log_softmax(1) for logits in (teacher.detach(), student))
    return F.kl_div(given, wanted, log_target=True, reduction="batchmean") * tau**2
