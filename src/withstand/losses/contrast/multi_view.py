"""NT-Xent over any number of views, as RoCL takes it over two views and an attacked one.

Adversarial Self-Supervised Contrastive Learning (RoCL; NeurIPS 2020).

Sizes: V views, B samples on this process, N over all processes, D projection width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from withstand.core.devices.distributed import first_row, gather, world_size
from withstand.core.errors import DataError
from withstand.losses.precision import full_precision, unit_rows
from withstand.losses.similarity import similarity_logsumexp
from withstand.losses.temperature import Temperature, checked_temperature


def nt_xent_views(views: Sequence[Tensor], temperature: Temperature = 0.5, *, stop_keys: bool = True) -> Tensor:
    """Return the mean over V N anchors of the sum over the V - 1 positives of `-s_pos + logsumexp`, 0-d.

    The log-sum-exp runs over the other V N - 1 rows. With two views this is NT-Xent in value.

    Args:
        views: projections, V of `(B, D)`, unnormalised.
        temperature: tau, above 0.
        stop_keys: let gradients flow through anchors alone, as in the official code; NT-Xent's flow through both
            sides.

    Raises:
        DataError: fewer than two views, or of different shapes.
    """
    shapes = {view.shape for view in views}
    if len(views) < 2 or len(shapes) != 1 or views[0].dim() != 2:
        raise DataError(f"views need projections of one shape (B, D), at least two, not {[*map(tuple, shapes)]}")
    temperature = checked_temperature(temperature)
    return _loss(torch.stack(tuple(views)), temperature, stop_keys)


@full_precision
def _loss(views: Tensor, temperature: Temperature, stop_keys: bool) -> Tensor:
    count, local, width = views.shape
    anchors = unit_rows(views.reshape(-1, width))
    samples = local * world_size()
    # Keys are numbered over the global batch: all samples' first views, then their second views.
    keys = torch.cat([gather(view) for view in anchors.view(count, local, width)])
    keys = keys.detach() if stop_keys else keys
    row = torch.arange(local, device=views.device) + first_row(local)
    itself = (row + samples * torch.arange(count, device=views.device)[:, None]).reshape(-1, 1)
    rest = similarity_logsumexp(anchors, keys, temperature, itself)
    own = keys.view(count, samples, width)[:, row]
    one = anchors.view(count, local, width)
    # Each anchor with the sum of its sample's keys, its own left out.
    positive = (one * (own.sum(0) - own)).sum(2).reshape(-1) / temperature
    return ((count - 1) * rest - positive).mean()
