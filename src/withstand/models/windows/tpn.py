"""Networks on sensor windows: the small convolutional network of TPN, and one device's part of a window of many.

Multi-task Self-Supervised Learning for Human Activity Detection (TPN; Saeed, Ozcelebi, Lukkien; 2019), as ColloSSL
uses it.

Sizes: B samples, D devices, C channels, T readings, F features.
"""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError, DataError
from withstand.core.roles import Model


class TPN(Model):
    """Three convolutions along time without padding, ReLU and dropout after each, then the maximum over time.

    Args:
        channels: C.
        widths: filters of each convolution; the last is the features' width.
        kernels: readings that each sees.
        dropout: after each convolution.
    """

    def __init__(
        self,
        channels: int,
        widths: Sequence[int] = (32, 64, 96),
        kernels: Sequence[int] = (24, 16, 8),
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if len(widths) != len(kernels) or not widths or min(*widths, *kernels) < 1:
            raise ConfigError(f"widths and kernels are as many numbers above 0, not {widths!r} and {kernels!r}")
        layers: list[nn.Module] = []
        for before, after, kernel in zip((channels, *widths), widths, kernels, strict=False):
            layers += [nn.Conv1d(before, after, kernel), nn.ReLU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers)
        self.width = widths[-1]
        self.channels, self.shortest = channels, sum(kernels) - len(kernels) + 1

    @classmethod
    def example(cls) -> Self:
        return cls(3, (6, 8), (3, 2), dropout=0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Return features `(B, F)` of one device's windows `(B, C, T)`."""
        if x.dim() != 3 or x.shape[1] != self.channels or x.shape[2] < self.shortest:
            raise DataError(
                f"windows (B, {self.channels}, at least {self.shortest} readings) are needed, not {tuple(x.shape)}"
            )
        found: Tensor = self.layers(x.to(next(self.parameters()).dtype)).amax(2)
        return found


def fitting_kernels(length: int, kernels: Sequence[int] = (24, 16, 8), published: int = 150) -> tuple[int, ...]:
    """Return the kernels, made shorter in proportion where windows are shorter than the published ones.

    >>> fitting_kernels(150), fitting_kernels(64)
    ((24, 16, 8), (10, 7, 3))
    """
    share = min(1.0, length / published)
    return tuple(max(2, round(kernel * share)) if length > 4 else 1 for kernel in kernels)


class AnchorEncoder(Model):
    """An encoder shared by all devices; of a window of many devices it reads the anchor's part alone.

    So whoever embeds, probes or attacks meets the one device that will be there in use.

    Args:
        trunk: reads one device's windows `(B, C, T)`.
        anchor: the device's place among the D.
    """

    def __init__(self, trunk: Model, anchor: int = 0) -> None:
        super().__init__()
        if anchor < 0:
            raise ConfigError(f"anchor must be a device's place from 0 on, not {anchor!r}")
        self.trunk, self.anchor, self.width = trunk, anchor, trunk.width

    @classmethod
    def example(cls) -> Self:
        return cls(TPN.example(), anchor=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return features of the anchor, `(B, F)`; windows of all devices `(B, D, C, T)`, or its own `(B, C, T)`."""
        if x.dim() == 4:
            if x.shape[1] <= self.anchor:
                raise DataError(f"the anchor is device {self.anchor}, and there are {x.shape[1]} (from 0 on)")
            x = x[:, self.anchor]
        found: Tensor = self.trunk(x)
        return found

    def devices(self, x: Tensor, places: Sequence[int]) -> Tensor:
        """Return features of some devices, `(P, B, F)`, from windows of all `(B, D, C, T)`."""
        chosen = x[:, list(places)].transpose(0, 1)
        found: Tensor = self.trunk(chosen.flatten(0, 1))
        return found.view(len(places), len(x), -1) if len(x) else torch.empty(len(places), 0, self.width)
