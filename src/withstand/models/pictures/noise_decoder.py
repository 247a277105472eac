"""A decoder from an embedding to a change of pixels: AnyAttack's (Zhang et al., 2025).

Sizes: `N` samples, `C` channels, `P` places of a map, `K` numbers of a key.
"""

from itertools import pairwise
from typing import Self

import torch.nn.functional as F
from torch import Tensor, nn

from withstand.core.errors import ConfigError
from withstand.core.part import Part

_SMALLEST, _DOUBLINGS, _HEADS = 4, 4, 8


class LinearAttention(nn.Module):
    """Attention whose cost is linear in places: keys are normalised over places, queries over their numbers.

    Each head's context `(K, V)` is the mean of values weighed by keys, which queries then read (Shen et al., 2021).

    Args:
        channels: of the maps, and of all heads' values together.
        keys: of all heads' keys together.
        heads: how many share them.

    Raises:
        ConfigError: heads that have no key, or that do not share keys and channels evenly.
    """

    def __init__(self, channels: int, keys: int, heads: int) -> None:
        super().__init__()
        if heads < 1 or keys % heads or channels % heads:
            raise ConfigError(f"heads must share {keys} keys and {channels} channels evenly, not be {heads}")
        self.heads = heads
        self.keys, self.queries = nn.Conv2d(channels, keys, 1), nn.Conv2d(channels, keys, 1)
        self.values, self.out = nn.Conv2d(channels, channels, 1), nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return maps `(N, C, H, W)` with what attention adds to them."""
        rows, _, height, width = x.shape
        keys, queries, values = (
            made(x).view(rows, self.heads, -1, height * width) for made in (self.keys, self.queries, self.values)
        )
        context = keys.softmax(3) @ values.transpose(2, 3)
        read = (context.transpose(2, 3) @ queries.softmax(2)).reshape(rows, -1, height, width)
        found: Tensor = self.out(read) + x
        return found


class _Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        keys = max(2, channels // 4)
        # A head with a single key would read the same whatever is asked: its queries are normalised over keys.
        most = min(_HEADS, keys // 2)
        heads = next(heads for heads in range(most, 0, -1) if keys % heads == 0 and channels % heads == 0)
        self.layers = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            nn.LeakyReLU(0.2),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            LinearAttention(channels, keys, heads),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.layers(x) + x, 0.2)


class NoiseDecoder(Part, nn.Module):
    """A linear layer to a small map, and blocks of convolutions with attention between doublings.

    Maps are doubled four times at most, as in the paper, from 4 pixels or more; what is too large is cut off. The last
    convolution begins small, for a change beyond its radius has no gradient.

    Args:
        features: of the embedding, D.
        shape: of a picture, (C, H, W).
        width: channels of the last maps; each earlier one has twice as many, and the official decoder 16.
    """

    def __init__(self, features: int, shape: tuple[int, ...], *, width: int = 16) -> None:
        super().__init__()
        if len(shape) != 3 or features < 1 or width < 1:
            raise ConfigError(f"a decoder needs features, width and a picture's shape (C, H, W), not {shape!r}")
        self.shape = tuple(shape)
        doublings = 0
        while doublings < _DOUBLINGS and max(shape[1:]) >= _SMALLEST * 2 ** (doublings + 1):
            doublings += 1
        self.small = tuple(-(-side // 2**doublings) for side in shape[1:])
        widths = [width * 2**place for place in range(doublings + 1)][::-1]
        self.first = nn.Linear(features, widths[0] * self.small[0] * self.small[1])
        layers: list[nn.Module] = [_Block(widths[0])]
        for before, after in pairwise(widths):
            up = nn.Conv2d(before, after, 3, padding=1)
            layers += [nn.Upsample(scale_factor=2), up, nn.BatchNorm2d(after), nn.LeakyReLU(0.2), _Block(after)]
        self.layers = nn.Sequential(*layers)
        self.last = nn.Conv2d(widths[-1], shape[0], 3, padding=1)
        for values in self.last.parameters():
            values.data.mul_(0.1)

    @classmethod
    def example(cls) -> Self:
        return cls(4, (1, 6, 6), width=2)

    def forward(self, embedding: Tensor) -> Tensor:
        """Return changes of pixels `(N, C, H, W)`, not confined, for embeddings `(N, D)`."""
        maps = self.layers(self.first(embedding).view(len(embedding), -1, *self.small))
        found: Tensor = self.last(maps)[..., : self.shape[1], : self.shape[2]]
        return found
