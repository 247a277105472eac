"""An encoder that begins with wavelet scattering, which is fixed, and goes on with a residual network, which learns.

ScatSimCLR: Self-supervised Contrastive Learning with Pretext Task Regularization for Small-scale Datasets (2021).
With 16 orientations, 3 channels, width 64 and 30 blocks, representations have 2,048 features.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, relu

from withstand.core.errors import ConfigError
from withstand.core.roles import Model
from withstand.models.pictures.convnets.resnet import BasicBlock
from withstand.models.pictures.wavelet_scattering.scattering import Scattering

ADAPTERS = {
    2: ((1, 1), (2, 1)),
    4: ((1, 2), (2, 2)),
    8: ((1, 4), (2, 4)),
    12: ((2, 4), (1, 4), (2, 4)),
    16: ((2, 6), (1, 4), (2, 6)),
    30: ((2, 30),),
    45: ((2, 15), (1, 15), (2, 15)),
}
"""(widths, in multiples of the narrow one; blocks) of each stage, by blocks in all; the paper's are 8 to 45."""


class ScatteringEncoder(Model):
    """Scattering, a convolution, residual blocks of stride 1, and an average over 4 x 4 places.

    Args:
        shape: (C, H, W) of the pictures.
        scales: J of the scattering; its maps have 1 / 2^J of the side.
        orientations: L of the scattering; the paper has 16.
        blocks: of the residual network: 2, 4, 8, 12, 16, 30 or 45.
        width: channels of its narrow stages; the wide ones have twice as many. The paper has 64.
        scatter_norm: normalise each scattering channel over the batch; the official code makes this layer and does not
            use it. Channels of order 2 are tens of times smaller than those of order 0, which weights alone must mend
            without it.
    """

    def __init__(
        self,
        shape: tuple[int, int, int] = (3, 32, 32),
        *,
        scales: int = 2,
        orientations: int = 8,
        blocks: int = 8,
        width: int = 64,
        scatter_norm: bool = True,
    ) -> None:
        super().__init__()
        if blocks not in ADAPTERS:
            raise ConfigError(f"blocks must be one of {', '.join(map(str, ADAPTERS))}, not {blocks!r}")
        if width < 2:
            raise ConfigError(f"width must be at least 2, not {width!r}")
        self.scattering = Scattering(shape[1:], scales, orientations)
        channels = shape[0] * self.scattering.paths
        self.scatter_norm = nn.BatchNorm2d(channels) if scatter_norm else nn.Identity()
        narrow = width // 2 if blocks <= 8 else 4 * width
        self.first = nn.Conv2d(channels, narrow, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(narrow)
        listed: list[nn.Module] = []
        for times, count in ADAPTERS[blocks]:
            for _ in range(count):
                listed.append(BasicBlock(narrow, times * width, stride=1))
                narrow = times * width
        self.blocks = nn.Sequential(*listed)
        self.places = tuple(min(4, side) for side in self.scattering.out)
        self.width = narrow * self.places[0] * self.places[1]
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Return features `(B, width)` of pictures `(B, *shape)`."""
        coefficients = self.scattering(x).flatten(1, 2)
        if torch.is_autocast_enabled(x.device.type):
            coefficients = coefficients.float()
        maps = relu(self.norm(self.first(self.scatter_norm(coefficients))))
        return adaptive_avg_pool2d(self.blocks(maps), self.places).flatten(1)
