"""A small convolutional network without batch normalisation: what is usually trained to be certified.

Two strided convolutions and one hidden layer, as in the code of Wong and Kolter (2018) and of IBP (Gowal et al., 2018).
Sizes: `W` channels of the first convolution.
"""

from torch import Tensor, nn

from withstand.core.errors import ConfigError
from withstand.core.roles import Model


class ConvNet(Model):
    """Convolutions of side 4 and stride 2 that double their channels, then one hidden layer; ReLUs between.

    Args:
        channels_first: W, channels of the first convolution.
        shape: one picture's (C, H, W); sides of at least 8.
        depth: convolutions.
        hidden: features that come out.
    """

    def __init__(
        self, channels_first: int = 16, shape: tuple[int, int, int] = (3, 32, 32), depth: int = 2, hidden: int = 100
    ) -> None:
        super().__init__()
        channels, height, width = shape
        if channels_first < 1 or hidden < 1 or depth < 1 or min(height, width) >> depth < 1:
            raise ConfigError(
                f"channels_first, hidden and depth must be at least 1, and {depth!r} halvings must leave something of "
                f"{height} x {width} pixels: {channels_first!r}, {hidden!r}"
            )
        layers: list[nn.Module] = []
        for place in range(depth):
            wide = channels_first << place
            layers += [nn.Conv2d(channels, wide, 4, stride=2, padding=1), nn.ReLU()]
            channels, height, width = wide, height // 2, width // 2
        layers += [nn.Flatten(), nn.Linear(channels * height * width, hidden), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.width = hidden

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.layers(x)
        return features
