"""Pictures made smaller and brought back to their size, as sharing them does."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import interpolate

from withstand.core.errors import ConfigError
from withstand.core.random import Draws
from withstand.views.pictures.picture import PictureView


@dataclass(frozen=True)
class Rescaled(PictureView):
    """Shrink a picture and enlarge it to its size again, bicubic both ways, antialiased.

    Args:
        share: of each side that is kept, above 0 and at most 1; 1 changes nothing.
    """

    share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ConfigError(f"share must lie in (0, 1], not {self.share!r}")

    def change(self, x: Tensor, draws: Draws) -> Tensor:
        height, width = x.shape[2:]
        small = [max(1, round(side * self.share)) for side in (height, width)]
        if small == [height, width] or not len(x):
            return x
        less = interpolate(x, small, mode="bicubic", antialias=True).clamp_(0, 1)
        return interpolate(less, (height, width), mode="bicubic").clamp_(0, 1)
