"""Small frames to large ones, each with the help of the one before (FRVSR, Sajjadi et al., 2018; TecoGAN, 2020).

Sizes: `B` clips of `T` frames, `C` channels, `h` x `w` pixels of small frames; r is the scale, 4.
"""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, pad, relu

from withstand.core.batch import unit_range
from withstand.core.errors import ConfigError, DataError
from withstand.core.part import Part
from withstand.core.roles import Model
from withstand.models.blocks.glorot import start_glorot
from withstand.models.restoration.resampling import blurred, spread
from withstand.models.restoration.warp import space_to_depth, warp

SCALE = 4
MARGIN = 4
"""Pixels a side of large frames that the blur takes when they are made small."""
FLOW_SIDES = 8
"""What divides the sides of frames that the flow network reads; others are continued by reflection."""
_SLOPE = 0.2
_FARTHEST = 24.0


class FlowNetwork(Part, nn.Module):
    """How far each pixel of a frame was away in the frame before: three halvings and three doublings.

    Args:
        channels: C.
        width: channels of the first maps.
        farthest: pixels that a flow tells at most, in either direction.

    Raises:
        ConfigError: a count below 1.
    """

    def __init__(self, channels: int = 3, *, width: int = 32, farthest: float = _FARTHEST) -> None:
        super().__init__()
        if min(channels, width) < 1 or not farthest > 0:
            raise ConfigError(
                f"channels and width must be at least 1 and farthest above 0, not {(channels, width, farthest)!r}"
            )
        self.farthest = farthest
        sizes = [2 * channels, width, 2 * width, 4 * width, 8 * width, 4 * width, 2 * width]
        self.blocks = nn.ModuleList(
            nn.Sequential(_convolution(before, now), nn.LeakyReLU(_SLOPE), _convolution(now, now), nn.LeakyReLU(_SLOPE))
            for before, now in pairwise(sizes)
        )
        self.last = nn.Sequential(_convolution(2 * width, width), nn.LeakyReLU(_SLOPE), _convolution(width, 2))
        start_glorot(self)

    @classmethod
    def example(cls) -> Self:
        return cls(width=2)

    def forward(self, before: Tensor, now: Tensor) -> Tensor:
        """Return the flow `(B, 2, h, w)` that brings frames onto the next ones by `warp`, in pixels.

        Args:
            before: frames `(B, C, h, w)` in [0, 1].
            now: the next ones.

        Raises:
            DataError: sides below 8 pixels.
        """
        height, width = now.shape[2:]
        if min(height, width) < FLOW_SIDES:
            raise DataError(f"frames must have {FLOW_SIDES} x {FLOW_SIDES} pixels at least, not {height} x {width}")
        x = torch.cat([before, now], 1)
        if height % FLOW_SIDES or width % FLOW_SIDES:
            x = pad(x, (0, -width % FLOW_SIDES, 0, -height % FLOW_SIDES), mode="reflect")
        for place, block in enumerate(self.blocks):
            x = block(x)
            x = max_pool2d(x, 2) if place < 3 else spread(x, 2, "bilinear")
        flow: Tensor = self.last(x)[..., :height, :width]
        return self.farthest * wide(flow).tanh()


class FrameRecurrent(Model):
    """A generator that is given each small frame and the large one that it made before, moved along the flow.

    It adds to the frame enlarged by bicubic interpolation. As an encoder it reads large frames, makes them small as in
    training, and gives the mean over frames and places of the maps that a large frame is made of.

    Args:
        channels: C.
        width: of the maps, W.
        blocks: residual ones, 16 in TecoGAN and 10 in FRVSR.
        flow_width: channels of the flow network's first maps.

    Raises:
        ConfigError: a count below 1.
    """

    def __init__(self, *, channels: int = 3, width: int = 64, blocks: int = 16, flow_width: int = 32) -> None:
        super().__init__()
        if min(channels, width, blocks, flow_width) < 1:
            raise ConfigError(
                "channels, width, blocks and flow_width must be at least 1, not "
                f"{(channels, width, blocks, flow_width)!r}"
            )
        self.channels, self.width = channels, width
        self.flow = FlowNetwork(channels, width=flow_width)
        self.first = nn.Conv2d((1 + SCALE**2) * channels, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(_convolution(width, width), nn.ReLU(), _convolution(width, width)) for _ in range(blocks)
        )
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(width, width, 3, stride=2, padding=1, output_padding=1) for _ in range(2)
        )
        self.last = nn.Conv2d(width, channels, 3, padding=1)

    @classmethod
    def example(cls) -> Self:
        return cls(width=4, blocks=1, flow_width=2)

    def forward(self, x: Tensor) -> Tensor:
        """Return features `(B, W)` of clips of large frames `(B, T, C, H, W')`."""
        low = blurred_clip(self.cast(x))
        flows, large, total = self.flows(low), None, torch.zeros((), device=low.device, dtype=low.dtype)
        for place, frame in enumerate(low.unbind(1)):
            maps = self.maps(frame, self.moved(large, flows[:, place - 1]) if large is not None else None)
            large = self.drawn(frame, maps)
            total = total + maps.mean((2, 3)) / low.shape[1]
        return total

    def cast(self, x: Tensor) -> Tensor:
        """Return frames in [0, 1], in the type of the weights."""
        dtype = self.last.weight.dtype
        return unit_range(x, dtype).to(dtype)

    def flows(self, low: Tensor) -> Tensor:
        """Return the flow from each frame to the next, `(B, T - 1, 2, h, w)`, of clips `(B, T, C, h, w)`, at once."""
        before, now = low[:, :-1], low[:, 1:]
        if low.shape[1] < 2:
            return low.new_zeros(len(low), 0, 2, *low.shape[3:])
        flows: Tensor = self.flow(before.flatten(0, 1), now.flatten(0, 1))
        return flows.view(*before.shape[:2], *flows.shape[1:])

    def moved(self, large: Tensor, flow: Tensor) -> Tensor:
        """Return the large frames before `(B, C, rh, rw)`, moved along flows of small frames."""
        return warp(large, enlarged_flow(flow))

    def maps(self, frame: Tensor, moved: Tensor | None) -> Tensor:
        """Return maps `(B, W, h, w)`.

        Args:
            frame: small frames `(B, C, h, w)` in [0, 1].
            moved: what was made before, in [-1, 1], moved onto these; None before first frames, for black.
        """
        batch, channels, height, width = frame.shape
        before = frame.new_zeros(batch, SCALE**2 * channels, height, width)
        if moved is not None:
            before = space_to_depth((moved.to(frame.dtype) + 1) / 2, SCALE)
        x: Tensor = relu(self.first(torch.cat([frame, before], 1)))
        for block in self.blocks:
            x = x + block(x)
        return x

    def drawn(self, frame: Tensor, maps: Tensor) -> Tensor:
        """Return large frames `(B, C, rh, rw)` in [-1, 1], or somewhat outside, from their maps."""
        x = maps
        for layer in self.up:
            x = relu(layer(x))
        return 2 * (wide(self.last(x)) + spread(wide(frame), SCALE, "bicubic")) - 1

    def enlarge(self, low: Tensor, flows: Tensor) -> Tensor:
        """Return large clips `(B, T, C, rh, rw)` in [-1, 1], or somewhat outside, of small ones and their `flows`."""
        made: list[Tensor] = []
        for place, frame in enumerate(low.unbind(1)):
            moved = self.moved(made[-1], flows[:, place - 1]) if made else None
            made.append(self.drawn(frame, self.maps(frame, moved)))
        return torch.stack(made, 1)

    def stream(self, frames: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield large frames `(B, C, rh, rw)` in [-1, 1] of small ones `(B, C, h, w)`, one by one.

        No more than two frames are held, so that clips may have any length.
        """
        before, made = None, None
        for given in frames:
            frame = self.cast(given)
            moved = None
            if before is not None and made is not None:
                moved = self.moved(made, self.flow(before, frame))
            before, made = frame, self.drawn(frame, self.maps(frame, moved))
            yield made


class ClipUpscaler(Part, nn.Module):
    """Clips of frames in [0, 1] to clips of frames four times as large, in [0, 1].

    As ONNX it takes clips as long and large as those that it is exported with, for each frame needs the one before.

    Args:
        network: what enlarges them.
    """

    def __init__(self, network: FrameRecurrent) -> None:
        super().__init__()
        self.network = network

    @classmethod
    def example(cls) -> Self:
        return cls(FrameRecurrent.example())

    def forward(self, x: Tensor) -> Tensor:
        """Return large clips `(B, T, C, 4h, 4w)` of small ones `(B, T, C, h, w)`."""
        return torch.stack(list(self.frames(x.unbind(1))), 1)

    def frames(self, frames: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield large frames of small ones `(B, C, h, w)`, one by one."""
        for made in self.network.stream(frames):
            yield ((made + 1) / 2).clamp(0, 1)


def wide(x: Tensor) -> Tensor:
    """Return numbers in single precision at least: positions and what is fed back need more than eight bits."""
    return x if x.dtype == torch.float64 else x.float()


def enlarged_flow(flow: Tensor) -> Tensor:
    """Return the flow of large frames `(B, 2, rh, rw)` from that of small ones, r times as long."""
    return spread(SCALE * flow, SCALE, "bilinear")


def blurred_clip(x: Tensor) -> Tensor:
    """Return clips of large frames `(B, T, C, H, W)` made small by a Gaussian, without a margin.

    Sides H are 4 h + 8, or up to 3 more, which are left out.

    Raises:
        DataError: frames that are too small.
    """
    height, width = x.shape[3:]
    if min(height, width) < SCALE * FLOW_SIDES + 2 * MARGIN:
        least = SCALE * FLOW_SIDES + 2 * MARGIN
        raise DataError(f"frames of {height} x {width} are too small to be made smaller: {least} x {least} at least")
    kept = x[..., : height - (height - 2 * MARGIN) % SCALE, : width - (width - 2 * MARGIN) % SCALE]
    low = blurred(kept.flatten(0, 1), SCALE)
    return low.view(*x.shape[:2], *low.shape[1:])


def without_margin(x: Tensor) -> Tensor:
    """Return the large frames that belong to what `blurred_clip` gives."""
    height, width = ((side - 2 * MARGIN) // SCALE * SCALE for side in x.shape[3:])
    return x[..., MARGIN : MARGIN + height, MARGIN : MARGIN + width]


def _convolution(before: int, now: int) -> nn.Conv2d:
    return nn.Conv2d(before, now, 3, padding=1)
