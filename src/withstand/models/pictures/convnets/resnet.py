"""Residual networks with basic blocks for small pictures.

Deep Residual Learning for Image Recognition (2015), with the stem that CIFAR work uses: a 3 x 3 convolution of
stride 1 and no pooling. `ResNet()` is the usual CIFAR ResNet-18: 11,168,832 parameters, 512 features.
"""

from typing import Literal, get_args

from torch import Tensor, nn
from torch.nn.functional import relu

from withstand.core.errors import ConfigError, nearest
from withstand.core.roles import Model
from withstand.models.blocks.recompute import through

Stem = Literal["small", "large", "full"]

BLOCKS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
"""Blocks in each of the four stages, by depth."""


class ResNet(Model):
    """A ResNet whose four stages have 1, 2, 4 and 8 times `width` channels.

    Args:
        width: channels of the first stage. 64 is usual; 8 to 32 train on a CPU. Features are 8 times as wide.
        depth: 10, 18 or 34 layers.
        channels: channels of the pictures.
        stem: "small" for pictures of 28 to 64 pixels; "large" (7 x 7, stride 2, max-pooling) for about 224; "full" is
            the large one with strides of 1, which keeps the finest traces of pictures of any size.
        zero_init: start every block as the identity, its last normalisation's weights at 0.
        recompute: compute blocks again in the backward pass, to save memory; see `models.blocks.recompute`.
    """

    def __init__(
        self,
        width: int = 64,
        depth: int = 18,
        channels: int = 3,
        stem: Stem = "small",
        *,
        zero_init: bool = False,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        if depth not in BLOCKS:
            raise ConfigError(f"depth must be one of {', '.join(map(str, BLOCKS))}, not {depth!r}")
        if stem not in get_args(Stem):
            raise ConfigError(f"stem {stem!r} is unknown: {nearest(str(stem), get_args(Stem))}")
        if width < 1:
            raise ConfigError(f"width must be at least 1, not {width!r}")
        self.width, self.recompute = 8 * width, recompute
        stride = 2 if stem == "large" else 1
        self.pool = None if stem == "small" else nn.MaxPool2d(3, stride, 1)
        size = 3 if stem == "small" else 7
        self.stem = nn.Conv2d(channels, width, size, stride, size // 2, bias=False)
        self.norm = nn.BatchNorm2d(width)
        blocks: list[nn.Module] = []
        narrow = width
        for stage, count in enumerate(BLOCKS[depth]):
            wide = width * 2**stage
            for place in range(count):
                blocks.append(BasicBlock(narrow, wide, stride=2 if stage and not place else 1))
                narrow = wide
        self.blocks = nn.Sequential(*blocks)
        ends = tuple(f"blocks.{sum(BLOCKS[depth][: stage + 1]) - 1}" for stage in range(4))
        self.stages = ("stem", *ends) if stem == "small" else ("stem", "pool", *ends)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if zero_init and isinstance(module, BasicBlock):
                nn.init.zeros_(module.norm2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return features `(B, 8 * width)` of normalised pictures `(B, channels, H, W)`."""
        x = relu(self.norm(self.stem(x)), inplace=True)
        if self.pool is not None:
            x = self.pool(x)
        return through(self.blocks, x, recompute=self.recompute).mean((2, 3))


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a way round them."""

    def __init__(self, narrow: int, wide: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(narrow, wide, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(wide)
        self.conv2 = nn.Conv2d(wide, wide, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(wide)
        self.stride = stride
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or narrow != wide:
            self.shortcut = nn.Sequential(nn.Conv2d(narrow, wide, 1, bias=False), nn.BatchNorm2d(wide))

    def forward(self, x: Tensor) -> Tensor:
        y = relu(self.norm1(self.conv1(x)), inplace=True)
        # The shortcut's 1 x 1 convolution gets every other place: with a stride of its own, and 8 channels in at 64
        # pixels, its weights' gradient writes out of bounds on CPUs in the channels-last layout (torch 2.14).
        if self.stride != 1:
            x = x[:, :, :: self.stride, :: self.stride]
        # Batch normalisation keeps its input, not its output, for the backward pass: in place is safe.
        y = self.norm2(self.conv2(y)).add_(self.shortcut(x))
        return relu(y, inplace=True)
