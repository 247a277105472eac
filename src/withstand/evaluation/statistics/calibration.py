"""Whether probabilities are what they say: of answers given with probability p, a share p should be right."""

import torch
from torch import Tensor

from withstand.core.errors import ConfigError, DataError


def expected_calibration_error(confidence: Tensor, right: Tensor, bins: int = 15) -> float:
    """Return the mean distance between confidence and accuracy over bins of equal width, weighed by their samples.

    On Calibration of Modern Neural Networks (2017). Bin k of n holds confidences in (k / n, (k + 1) / n].

    Args:
        confidence: the probability of the answer that is given, in [0, 1], `(N,)`.
        right: whether it is right, bool `(N,)`.
        bins: how many.

    Raises:
        ConfigError: less than one bin.
        DataError: no samples, shapes that differ, or confidences outside [0, 1].
    """
    if bins < 1:
        raise ConfigError(f"bins must be at least 1, not {bins!r}")
    if confidence.dim() != 1 or confidence.shape != right.shape or not len(right):
        raise DataError(f"confidences and answers must be (N,) of one N, not {(*confidence.shape,)}, {(*right.shape,)}")
    p, hit = confidence.double().cpu(), right.double().cpu()
    if not 0 <= float(p.min()) <= float(p.max()) <= 1:
        raise DataError(f"confidences must lie in [0, 1], not [{float(p.min()):.4g}, {float(p.max()):.4g}]")
    place = (p * bins).ceil().long().sub(1).clamp_min(0)
    gap = torch.zeros(bins, dtype=torch.float64).index_add_(0, place, p - hit)
    return float(gap.abs().sum() / len(p))
