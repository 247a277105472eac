"""The spectral contrastive loss, and what a linear network makes of features under it, in closed form.

Loss: Provable Guarantees for Self-Supervised Deep Learning with Spectral Contrastive Loss (2021). Closed forms:
Investigating the Benefits of Projection Head for Representation Learning (2024).

Sizes: B samples on this process, N over all processes, D projection width, F features, p outputs.
"""

import torch
from torch import Tensor

from withstand.core.devices.distributed import first_row, gather
from withstand.core.errors import DataError
from withstand.losses.precision import full_precision


@full_precision
def spectral_contrastive(z1: Tensor, z2: Tensor) -> Tensor:
    """Return `-2 mean_i <z1_i, z2_i> + mean_{i != j} <z1_i, z2_j>^2` of projections `(B, D)`, which stay unnormalised.

    An unbiased estimate of the population's loss.
    """
    if z1.dim() != 2 or z1.shape != z2.shape:
        raise DataError(f"two views need projections of one shape (B, D), not {tuple(z1.shape)} and {tuple(z2.shape)}")
    products = z1 @ gather(z2).T
    local, samples = products.shape
    if samples < 2:
        raise DataError("the spectral loss needs other samples: give batches of at least 2, not 1")
    row = torch.arange(local, device=z1.device)
    own = products[row, row + first_row(local)]
    others = (products.square().sum() - own.square().sum()) / (local * (samples - 1))
    return others - 2 * own.mean()


def population_spectral_loss(weight: Tensor, covariance: Tensor, shared: Tensor) -> Tensor:
    """Return the loss of a linear map over the whole population, `-2 tr(A S0) + tr(A S A S)` with `A = W'W`.

    Args:
        weight: W, `(p, F)`.
        covariance: S, of augmented inputs, `(F, F)`.
        shared: S0, of the two views of a sample, `(F, F)`.
    """
    gram = weight.T @ weight
    spread = gram @ covariance
    return (spread @ spread).trace() - 2 * (gram @ shared).trace()


def feature_weights(shared: Tensor, noise: Tensor, outputs: int, *, layer: int = 2, layers: int = 2) -> Tensor:
    """Return how strongly a deep linear network, trained from a small start, weighs independent features, `(F,)`.

    The whole network weighs the `outputs` features whose variance the augmentation leaves most of by
    `sqrt(s0) / (s0 + n)`, and drops the others; after layer l of L, by that to the power l / L: the closer to the
    input, the more equal.

    Args:
        shared: s0, each feature's variance that both views of a sample share, above 0.
        noise: n, each feature's variance that augmentation adds.
        outputs: p.
        layer: after which layer; `layers` is the output, what the loss sees.
        layers: L.
    """
    if not 1 <= layer <= layers or not 1 <= outputs <= len(shared):
        raise DataError(f"layer must lie in [1, {layers}] and outputs in [1, {len(shared)}], not {layer} and {outputs}")
    kept = torch.zeros_like(shared)
    kept[(shared / (shared + noise)).topk(outputs).indices] = 1
    return kept * (shared.sqrt() / (shared + noise)) ** (layer / layers)
