"""Pictures in more detail than a batch holds, for views that take parts of them."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from withstand.core.batch import Structured, unit_range

Read = Callable[[], Sequence[NDArray[np.uint8]]]
"""Gives pictures `(H, W, C)`, each of its own size, which may lie in a mapped file."""


class Photos(Structured):
    """Some of a batch's pictures in more detail than its `x` has, each of its own size.

    They are read when a view first asks, and of a mapped file no more than the parts that are asked for.

    Args:
        larger: which of the batch's pictures they are, bool `(B,)`.
        read: gives them, in order.
        device: where parts of them go.
    """

    def __init__(self, larger: Tensor, read: Read, device: torch.device | str = "cpu") -> None:
        self.larger, self.device, self._read = larger.cpu(), torch.device(device), read
        self._held: Sequence[NDArray[np.uint8]] | None = None

    def __len__(self) -> int:
        return len(self.larger)

    @property
    def pictures(self) -> Sequence[NDArray[np.uint8]]:
        """The pictures `(H, W, C)`, in order."""
        if self._held is None:
            self._held = self._read()
        return self._held

    def tensors(self) -> dict[str, Tensor]:
        held = {f"picture {place}": torch.from_numpy(np.array(one)) for place, one in enumerate(self.pictures)}
        return {"larger": self.larger, **held}

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        return self  # bytes

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        made = type(self)(self.larger, self._read, device)
        made._held = self._held
        return made

    def sides(self, height: int, width: int) -> list[tuple[int, int]]:
        """Return height and width of every picture of the batch: those given where `x` has all of it."""
        pictures = iter(self.pictures)
        return [next(pictures).shape[:2] if larger else (height, width) for larger in self.larger.tolist()]

    def resized(self, boxes: Tensor, size: tuple[int, int], interpolation: str, flip: Tensor | None = None) -> Tensor:
        """Crop each of the pictures by its own box and resize it with antialiasing, rounding bytes to bytes.

        Args:
            boxes: top, left, height, width in pixels, `(M, 4)`.
            size: output height and width.
            interpolation: "bilinear" or "bicubic".
            flip: which crops are mirrored left to right, bool `(M,)`.

        Returns:
            `(M, C, h, w)`, float32 in [0, 1], on the device.
        """
        corners = boxes.to("cpu", torch.int64).tolist()
        mirrored = [False] * len(corners) if flip is None else flip.tolist()
        here = self.device.type == "cpu"
        made = torch.empty(len(corners), 3, *size, dtype=torch.float32 if here else torch.uint8)

        def make(place: int) -> None:
            top, left, height, width = corners[place]
            box = self.pictures[place][top : top + height, left : left + width]
            # A copy by NumPy and torch's kernel for bytes keep to one thread each, so that pictures can have one each.
            x = torch.from_numpy(np.ascontiguousarray(box)).permute(2, 0, 1)[None]
            part = torch.nn.functional.interpolate(x, size, mode=interpolation, antialias=True)[0]
            part = part.flip(2) if mirrored[place] else part
            torch.mul(part, 1 / 255, out=made[place]) if here else made[place].copy_(part)

        threads = min(torch.get_num_threads(), len(corners))
        if threads > 1:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(make, range(len(corners))))
        else:
            for place in range(len(corners)):
                make(place)
        return unit_range(made.to(self.device))
