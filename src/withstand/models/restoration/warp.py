"""Moving frames along a flow, and pixels into channels. Sizes: `B` frames, `C` channels, `H` x `W` pixels."""

import torch
from torch import Tensor
from torch.nn.functional import grid_sample


def warp(x: Tensor, flow: Tensor) -> Tensor:
    """Return frames `(B, C, H, W)` sampled where a flow points: out[y, x] = in[y + v, x + u], bilinear.

    Beyond the border the nearest pixel is taken. A frame is so brought onto another by the flow that tells, for each
    pixel of the other, how far away it was.

    Args:
        x: the frames.
        flow: `(B, 2, H, W)`, u to the right and v down, in pixels.
    """
    height, width = x.shape[2:]
    # Positions need more than the eight bits of half precision.
    flow = flow if flow.dtype == torch.float64 else flow.float()
    rows = torch.arange(height, device=flow.device, dtype=flow.dtype)
    columns = torch.arange(width, device=flow.device, dtype=flow.dtype)
    across = (columns + flow[:, 0]) * (2 / max(width - 1, 1)) - 1
    down = (rows[:, None] + flow[:, 1]) * (2 / max(height - 1, 1)) - 1
    with torch.autocast(x.device.type, enabled=False):
        return grid_sample(
            x.to(flow.dtype),
            torch.stack([across, down], 3),
            mode="bilinear",
            padding_mode="border",
            align_corners=True,
        )


def space_to_depth(x: Tensor, side: int) -> Tensor:
    """Return frames `(B, C, s H, s W)` as `(B, s² C, H, W)`: channel (dy s + dx) C + c is pixel (dy, dx) of a block."""
    batch, channels, height, width = x.shape
    blocks = x.reshape(batch, channels, height // side, side, width // side, side)
    return blocks.permute(0, 3, 5, 1, 2, 4).reshape(batch, side**2 * channels, height // side, width // side)


def depth_to_space(x: Tensor, side: int) -> Tensor:
    """Return what `space_to_depth` was given."""
    batch, channels, height, width = x.shape
    blocks = x.reshape(batch, side, side, channels // side**2, height, width)
    return blocks.permute(0, 3, 4, 1, 5, 2).reshape(batch, channels // side**2, height * side, width * side)
