"""Ridge regression in closed form, with gradients through the solution."""

import torch
from torch import Tensor


def kernel_ridge(support: Tensor, targets: Tensor, queries: Tensor, ratio: float = 1e-6) -> Tensor:
    """Return what a linear ridge regression that is fitted to a support tells of queries, float64 `(B, D)`.

    P = K_qs (K_ss + lambda I)^-1 Y, with K = F F^T of features to which a 1 is appended, which stands for the
    intercept, and lambda = ratio trace(K_ss), a constant for gradients (KRR-ST, Lee et al., 2024). The dual form: with
    more features than samples it is the cheaper one. K_ss is nearly singular there, so all is computed in float64.

    Args:
        support: features of the M samples that are fitted, `(M, F)`.
        targets: Y, `(M, D)`.
        queries: features of the samples that are told, `(B, F)`.
        ratio: above 0.

    Returns:
        NaN where features are not finite.
    """
    with torch.autocast(support.device.type, enabled=False):
        fitted, asked = (_with_ones(features.double()) for features in (support, queries))
        kernel = fitted @ fitted.T
        ridge = ratio * kernel.detach().diagonal().sum()
        factor, failed = torch.linalg.cholesky_ex(kernel + ridge * torch.eye(len(kernel)).to(kernel))
        solved = torch.cholesky_solve(targets.double(), factor)
        return torch.where(failed == 0, asked @ (fitted.T @ solved), torch.nan)


def _with_ones(features: Tensor) -> Tensor:
    return torch.cat([features, features.new_ones(len(features), 1)], 1)
