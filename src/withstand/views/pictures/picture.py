"""What all picture views share: the types they take, which rows they change, and how they own memory.

Sizes: `N` pictures, `C` channels (1 or 3 for color), `H` x `W` pixels. Pictures come in as uint8, or as
float in [0, 1]; views give float32 in [0, 1].
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import ClassVar

import torch
from torch import Tensor

from withstand.core.batch import Batch, unit_range
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import Draws
from withstand.core.roles import View

_BLOCK = 3 << 16
"""Numbers in a block: with what is worked out from them, they stay in one core's cache."""


def check_pictures(x: Tensor) -> None:
    """Refuse what no picture view can take.

    Raises:
        DataError: `x` is not `(N, C, H, W)`, neither uint8 nor float, or float outside [0, 1].
    """
    if x.dim() != 4 or 0 in x.shape[1:]:
        raise DataError(f"pictures must be (N, C, H, W), not {tuple(x.shape)}: use x[:, None] for one channel")
    if x.is_floating_point():
        low, high = map(float, x.detach().aminmax()) if x.numel() else (0.0, 0.0)
        if not (low >= 0 and high <= 1):  # also catches NaN
            raise DataError(
                f"float pictures must lie in [0, 1], not [{low:.4g}, {high:.4g}]: hand over the uint8 pictures, "
                "or divide by 255; the encoder owns the normalisation"
            )
    elif x.dtype != torch.uint8:
        raise DataError(f"pictures must be uint8, or float in [0, 1], not {x.dtype}: use x.to(torch.uint8)")


def own_copy(x: Tensor) -> Tensor:
    """Return the pictures in [0, 1] as float32 that may be overwritten."""
    unit = unit_range(x)
    return unit.to(torch.float32, copy=unit is x)


def blocks(x: Tensor) -> Iterator[slice]:
    """Cut a batch into runs of samples that stay in a CPU's cache; a GPU gets the batch whole."""
    rows = max(1, _BLOCK // x[0].numel()) if len(x) and x.device.type == "cpu" else max(1, len(x))
    return (slice(start, start + rows) for start in range(0, len(x), rows))


def tracked(x: Tensor) -> bool:
    """Return whether a gradient is asked of these pictures: then nothing is written into buffers made before."""
    return x.requires_grad and torch.is_grad_enabled()


def per_sample(values: Tensor) -> Tensor:
    """Return `(N,)` values as `(N, 1, 1, 1)`, to meet pictures."""
    return values.view(-1, 1, 1, 1)


def check_probability(name: str, value: float) -> None:
    """Refuse what is no probability, naming the argument."""
    if not 0 <= value <= 1:
        raise ConfigError(f"{name} must be a probability in [0, 1], not {value!r}")


def check_range(name: str, value: tuple[float, float], low: float, high: float) -> None:
    """Refuse what is no range inside [low, high], naming the argument."""
    if not (len(value) == 2 and low <= value[0] <= value[1] <= high):
        raise ConfigError(f"{name} must be (smallest, largest) inside [{low:g}, {high:g}], not {value!r}")


def change_some(x: Tensor, rows: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Replace the chosen rows by `change` of them, in place, and return `x`; rows are int64 `(n,)`, in any order."""
    return x.index_copy_(0, rows, change(x.index_select(0, rows))) if len(rows) else x


def rows_where(chosen: Tensor) -> Tensor:
    """Return the places of the true values of `(N,)` booleans, ascending."""
    return chosen.nonzero().squeeze(1)


CROP = "crop"
"""The extra that says which part of its picture a view shows, `(B, 5)`: top, left, height and width as shares of the
picture's sides, and 1 where it is mirrored left to right; of several views, `(B, V, 5)`."""


class PictureView(View):
    """A view that changes pictures one by one and keeps their number.

    Attributes:
        moves: whether pixels change their places, so that what was known of these no longer holds.
    """

    moves: ClassVar[bool] = False

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        check_pictures(batch.x)
        return batch.with_x(self.change(own_copy(batch.x), draws))

    @abstractmethod
    def change(self, x: Tensor, draws: Draws) -> Tensor:
        """Return the changed pictures, float32 in [0, 1]. `x` is float32 in [0, 1], and may be overwritten.

        This is how a chain of views works in place; everyone else calls the view itself.
        """
