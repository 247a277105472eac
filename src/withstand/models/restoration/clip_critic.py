"""The critic of TecoGAN (Chu et al., 2020): whether three frames in a row are true or were made.

Sizes: `B` clips of `T` frames, `C` channels, `h` x `w` pixels of small frames and r times as many of large ones; `K`
triplets, of frames 0, 1, 2, of 3, 4, 5, and so on: what is left at the end is left out.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, pad

from withstand.core.errors import ConfigError
from withstand.core.part import Part
from withstand.models.restoration.frame_recurrent import SCALE, enlarged_flow
from withstand.models.restoration.resampling import spread
from withstand.models.restoration.warp import warp

_SLOPE = 0.2
_CENTER = 0.75


class ClipCritic(Part, nn.Module):
    """Convolutions that halve the sides four times, and a judgement at each place of the last maps.

    Batch normalisation has no learnt scale, and always takes the statistics of the batch.

    Args:
        channels: C.
        width: channels of the first maps; those that follow have as many, as many, twice and four times as many.

    Raises:
        ConfigError: a count below 1.
    """

    def __init__(self, channels: int = 3, *, width: int = 64) -> None:
        super().__init__()
        if min(channels, width) < 1:
            raise ConfigError(f"channels and width must be at least 1, not {(channels, width)!r}")
        self.first = nn.Conv2d(9 * channels, width, 3, padding=1)
        sizes = [width, width, width, 2 * width, 4 * width]
        self.halvings = nn.ModuleList(
            nn.Conv2d(before, now, 4, stride=2, padding=1, bias=False) for before, now in pairwise(sizes)
        )
        self.norms = nn.ModuleList(
            nn.BatchNorm2d(now, eps=1e-3, affine=False, track_running_stats=False) for now in sizes[1:]
        )
        self.offsets = nn.ParameterList(nn.Parameter(torch.zeros(now, 1, 1)) for now in sizes[1:])
        self.judge = nn.Conv2d(4 * width, 1, 1)

    @classmethod
    def example(cls) -> Self:
        return cls(width=2)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return logits at each place that triplets `(K, 9C, H, W)` are true, `(K, 1, H / 16, W / 16)`, and the maps.

        Returns:
            The logits, and the maps after each halving.
        """
        x = leaky_relu(self.first(x), _SLOPE)
        maps = []
        for halve, norm, offset in zip(self.halvings, self.norms, self.offsets, strict=True):
            x = leaky_relu(norm(halve(x)) + offset, _SLOPE)
            maps.append(x)
        return self.judge(x), maps


@dataclass(frozen=True)
class Triplets:
    """What the critic reads beside frames of some clips: the small frames, and the flows that bring triplets together.

    Attributes:
        low: small frames enlarged, `(B K, 3C, H, W)`.
        before: flow of large frames from the first to the second of each triplet, `(B K, 2, H, W)`.
        after: from the third to the second.
    """

    low: Tensor
    before: Tensor
    after: Tensor

    @classmethod
    def of(cls, low: Tensor, forward: Tensor, backward: Tensor) -> Self:
        """Return the triplets of clips.

        Args:
            low: small frames `(B, T, C, h, w)` in [0, 1].
            forward: flow of small frames from first to second ones, `(B, K, 2, h, w)`; no gradient goes through it.
            backward: from third to second ones.
        """
        large = spread(stacked(low), SCALE, "bilinear")
        flows = torch.cat([forward.flatten(0, 1), backward.flatten(0, 1)]).detach()
        before, after = enlarged_flow(flows).chunk(2)
        return cls(large, before, after)

    def read(self, frames: Tensor) -> Tensor:
        """Return what the critic reads of large frames `(B, T, C, H, W)` in [-1, 1], `(B K, 9C, H, W)`.

        Three frames as they are, three moved onto the second, without the outer part where flows leave the picture,
        and the small ones.
        """
        three = grouped(frames)
        first, second, third = three.unbind(1)
        moved = warp(torch.cat([first, third]), torch.cat([self.before, self.after]))
        onto = torch.stack([*moved.chunk(2)[:1], second.to(moved.dtype), *moved.chunk(2)[1:]], 1)
        return torch.cat([by_channel(three), centered(by_channel(onto)), self.low], 1)


def grouped(clips: Tensor) -> Tensor:
    """Return the triplets of clips `(B, T, C, H, W)`, `(B K, 3, C, H, W)`."""
    count = clips.shape[1] // 3
    return clips[:, : 3 * count].reshape(-1, 3, *clips.shape[2:])


def by_channel(triplets: Tensor) -> Tensor:
    """Return triplets `(K, 3, C, H, W)` as `(K, 3C, H, W)`: three times red, three times green, three times blue."""
    return triplets.transpose(1, 2).flatten(1, 2)


def stacked(clips: Tensor) -> Tensor:
    """Return the triplets of clips as channels, `(B K, 3C, H, W)`."""
    return by_channel(grouped(clips))


def centered(x: Tensor) -> Tensor:
    """Return pictures `(B, C, H, W)` with zeros around the central three quarters of each side."""
    sizes = [int(side * _CENTER) for side in x.shape[2:]]
    top, left = ((side - size) // 2 for side, size in zip(x.shape[2:], sizes, strict=True))
    inner = x[..., top : top + sizes[0], left : left + sizes[1]]
    return pad(inner, (left, x.shape[3] - left - sizes[1], top, x.shape[2] - top - sizes[0]))
