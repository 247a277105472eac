"""SRResNet: small pictures to large ones, the generator of SRGAN (Ledig et al., 2017).

Sizes: `B` pictures, `r` the scale, `W` channels of the maps.
"""

from typing import ClassVar, Literal, Self, TypeAlias, get_args

from torch import Tensor, nn

from withstand.core.batch import unit_range
from withstand.core.errors import ConfigError, nearest
from withstand.core.part import Part
from withstand.core.roles import Model
from withstand.models.restoration.resampling import enlarged

Norm: TypeAlias = Literal["batch", "none"]
SCALES = (2, 4, 8)


class SRResNet(Model):
    """A convolution of 9 x 9, residual blocks with a skip over all of them, and a PixelShuffle for each doubling.

    As an encoder it gives the mean over places of the maps that the picture is made of. It takes pictures of any size.

    Args:
        scale: r: 2, 4 or 8.
        channels: of the pictures.
        width: W.
        blocks: residual ones.
        norm: "batch" as in the paper; "none" leaves normalisation out, as EDSR and ESRGAN do later.
        global_skip: add the picture enlarged by bicubic interpolation, so that only what that lacks is learnt; the
            paper does not.

    Raises:
        ConfigError: another scale or norm, or a count below 1.
    """

    def __init__(
        self,
        scale: int = 4,
        *,
        channels: int = 3,
        width: int = 64,
        blocks: int = 16,
        norm: Norm = "batch",
        global_skip: bool = False,
    ) -> None:
        super().__init__()
        if scale not in SCALES:
            raise ConfigError(f"scale must be one of {', '.join(map(str, SCALES))}, not {scale!r}")
        if min(channels, width, blocks) < 1:
            raise ConfigError(f"channels, width and blocks must be at least 1, not {(channels, width, blocks)!r}")
        if norm not in get_args(Norm):
            raise ConfigError(f"norm {norm!r} is unknown: {nearest(str(norm), get_args(Norm))}")
        self.scale, self.channels, self.width, self.global_skip = scale, channels, width, global_skip
        self.first = nn.Sequential(nn.Conv2d(channels, width, 9, padding=4), nn.PReLU())
        self.blocks = nn.Sequential(*(_Block(width, norm) for _ in range(blocks)))
        self.join = nn.Sequential(*_convolution(width, norm))
        self.up = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(width, 4 * width, 3, padding=1), nn.PixelShuffle(2), nn.PReLU())
                for _ in range(scale.bit_length() - 1)
            )
        )
        self.last = nn.Conv2d(width, channels, 9, padding=4)

    @classmethod
    def example(cls) -> Self:
        return cls(2, width=4, blocks=1)

    def maps(self, x: Tensor) -> Tensor:
        """Return the maps `(B, W, H, W')` of pictures `(B, C, H, W')` in [0, 1], at their own resolution."""
        first = self.first(self._cast(x))
        found: Tensor = self.join(self.blocks(first)) + first
        return found

    def forward(self, x: Tensor) -> Tensor:
        """Return the means of the maps over places, `(B, W)`."""
        return self.maps(x).mean((2, 3))

    def enlarge(self, x: Tensor) -> Tensor:
        """Return pictures r times as large in [-1, 1], or somewhat outside, of pictures in [0, 1]."""
        made: Tensor = self.last(self.up(self.maps(x)))
        return made + (2 * enlarged(self._cast(x), self.scale) - 1) if self.global_skip else made

    def _cast(self, x: Tensor) -> Tensor:
        dtype = self.last.weight.dtype
        return unit_range(x, dtype).to(dtype)


class Upscaler(Part, nn.Module):
    """Pictures in [0, 1] to pictures r times as large, in [0, 1].

    Args:
        network: what enlarges them.
    """

    any_size: ClassVar[bool] = True

    def __init__(self, network: SRResNet) -> None:
        super().__init__()
        self.network = network

    @classmethod
    def example(cls) -> Self:
        return cls(SRResNet.example())

    @property
    def scale(self) -> int:
        """r."""
        return self.network.scale

    def forward(self, x: Tensor) -> Tensor:
        """Return the large pictures `(B, C, rH, rW)`."""
        return ((self.network.enlarge(x) + 1) / 2).clamp(0, 1)


class _Block(nn.Module):
    def __init__(self, width: int, norm: Norm) -> None:
        super().__init__()
        self.layers = nn.Sequential(*_convolution(width, norm), nn.PReLU(), *_convolution(width, norm))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = x + self.layers(x)
        return found


def _convolution(width: int, norm: Norm) -> list[nn.Module]:
    """Return a convolution of 3 x 3, with what normalises it; a bias before that would do nothing."""
    layer = nn.Conv2d(width, width, 3, padding=1, bias=norm == "none")
    return [layer] if norm == "none" else [layer, nn.BatchNorm2d(width)]
