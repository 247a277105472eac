"""How clips move: optical flow and change from frame to frame, of made clips beside true ones.

TecoGAN (Chu et al., 2020) brought tOF and tLP. Sizes: `T` frames, `C` channels, `H` x `W` pixels.
"""

from collections.abc import Callable
from functools import cache
from itertools import pairwise
from types import ModuleType

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from withstand.core.errors import DataError, MissingExtra

Distance = Callable[[Tensor, Tensor], Tensor]
"""How unlike pictures in [0, 1] look, `(B, C, H, W)` twice, one number each, `(B,)`."""

EDGE, ENDS, BLOCK = 8, 2, 32


@cache
def opencv() -> ModuleType:
    """Return OpenCV.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import cv2
    except ImportError:
        raise MissingExtra("tOF, the difference of optical flows,", "opencv-python-headless", "video") from None
    module: ModuleType = cv2
    return module


def flow_difference(made: Tensor, true: Tensor) -> Tensor:
    """Return tOF of each step from one frame to the next, `(T - 1,)`, in pixels.

    The mean length of the difference of Farneback's flows of made and of true frames, each of grey frames in 8 bits,
    by the settings of the official code; which takes this length where the paper writes the sum of absolute values.
    Papers show ten times as much.

    Args:
        made: frames `(T, C, H, W)` in [0, 1].
        true: the true ones.

    Raises:
        MissingExtra: OpenCV is not installed.
        DataError: frames of another shape, or fewer than two.
    """
    _check(made, true)
    flows = [np.stack([_flow(*pair) for pair in pairwise(_grey(clip))]) for clip in (made, true)]
    return torch.from_numpy(np.linalg.norm(flows[0] - flows[1], axis=3).mean((1, 2)))


def change_difference(made: Tensor, true: Tensor, distance: Distance) -> Tensor:
    """Return tLP of each step from one frame to the next, `(T - 1,)`.

    How far the distance of neighbouring made frames is from that of the true ones. Papers take LPIPS, and show a
    hundred times as much.

    Args:
        made: frames `(T, C, H, W)` in [0, 1].
        true: the true ones.
        distance: of pictures.

    Raises:
        DataError: frames of another shape, or fewer than two.
    """
    _check(made, true)
    return (distance(true[:-1], true[1:]) - distance(made[:-1], made[1:])).abs()


def judged_part(clip: Tensor) -> Tensor:
    """Return the part of a clip `(T, C, H, W)` that is judged by TecoGAN's protocol.

    Without two frames at either end; the center, whose sides are multiples of 32, without 8 pixels a side at least.

    Raises:
        DataError: too few frames, or too small ones.
    """
    height, width = ((side - 2 * EDGE) // BLOCK * BLOCK for side in clip.shape[2:])
    if len(clip) < 2 * ENDS + 2 or not height or not width:
        least = BLOCK + 2 * EDGE
        raise DataError(
            f"clips are judged on {2 * ENDS + 2} frames of {least} x {least} at least, not on {len(clip)} of "
            f"{clip.shape[2]} x {clip.shape[3]}"
        )
    top, left = (clip.shape[2] - height) // 2, (clip.shape[3] - width) // 2
    return clip[ENDS:-ENDS, :, top : top + height, left : left + width]


def _check(made: Tensor, true: Tensor) -> None:
    if made.shape != true.shape or made.dim() != 4 or len(made) < 2:
        raise DataError(
            f"made and true frames (T, C, H, W) must be alike in shape, and two or more, not {tuple(made.shape)} and "
            f"{tuple(true.shape)}"
        )


def _grey(clip: Tensor) -> list[npt.NDArray[np.uint8]]:
    """Return frames `(H, W)` in 8 bits, by OpenCV's weights of red, green and blue."""
    cv2 = opencv()
    pixels = (clip.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return [frame[..., 0] if frame.shape[2] == 1 else cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in pixels]


def _flow(before: npt.NDArray[np.uint8], now: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    found: npt.NDArray[np.float32] = opencv().calcOpticalFlowFarneback(before, now, None, 0.5, 3, 15, 3, 5, 1.2, 0)
    return found
