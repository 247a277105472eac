"""What a victim may be fed: samples that are a tensor, and a normalisation that is one."""

from collections.abc import Sequence

import torch
from torch import Tensor

from withstand.core.batch import as_structured
from withstand.core.errors import DataError


def as_tensor(samples: Tensor) -> Tensor:
    """Return samples that are a tensor, and refuse others."""
    if (whole := as_structured(samples)) is not None:
        raise DataError(
            f"attacks move tensors, and these samples are {type(whole).__name__}, of several tensors: make a victim of "
            "a function of the one that is to be moved"
        )
    return samples


def is_normalization(value: object) -> bool:
    """Return whether a value is `(mean, std)`, of finite numbers and with positive deviations."""
    if not isinstance(value, Sequence) or len(value) != 2:
        return False
    mean, std = (torch.as_tensor(part, dtype=torch.float64).flatten() for part in value)
    return mean.shape == std.shape and bool(
        torch.isfinite(mean).all() and torch.isfinite(std).all() and (std > 0).all()
    )
