"""Pretext tasks on pictures: tell how a picture was turned, how its tiles were shuffled, or where one lies.

Unsupervised Representation Learning by Predicting Image Rotations (2018); Unsupervised Learning of Visual
Representations by Solving Jigsaw Puzzles (2016); Unsupervised Visual Representation Learning by Context Prediction
(2015); heads and sizes of ScatSimCLR (2021) where nothing else is said.
sizes: B pictures, W features, T = grid^2 tiles
"""

import math
from abc import abstractmethod
from collections.abc import Callable
from functools import cache
from itertools import pairwise, permutations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate

from withstand.core.errors import ConfigError, DataError
from withstand.core.random import Draws, derive
from withstand.models.pictures.transforms import Rotations

CLOCKWISE = Rotations(clockwise=True)


class Pretext(nn.Module):
    """A task made of pictures themselves, with the head that solves it on an encoder's features."""

    @abstractmethod
    def made(self, x: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """Return the inputs `(B * n, C, H, W)`, a picture's after one another, and the labels to tell from them."""

    @abstractmethod
    def logits(self, features: Tensor) -> Tensor:
        """Return a score for each label, one row a label that `made` gave, from the inputs' features `(B * n, W)`."""

    def forward(self, encoder: Callable[[Tensor], Tensor], x: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """Return the cross-entropy and the share of right answers, 0-d each, on floating pictures `(B, C, H, W)`."""
        inputs, labels = self.made(x, draws)
        if x.is_contiguous(memory_format=torch.channels_last):  # as the engine has laid it out
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        logits = self.logits(encoder(inputs))
        return cross_entropy(logits.float() if logits.dtype != torch.float64 else logits, labels), (
            (logits.detach().argmax(1) == labels).float().mean()
        )


class RotationPretext(Pretext):
    """Tell by which quarter turns a picture was turned: 0 none, 1 clockwise, 2 half a turn, 3 counter-clockwise.

    Args:
        width: W.
        dropout: in the head.
        hidden: widths of the head's hidden layers; none for one linear layer.
    """

    def __init__(self, width: int, *, dropout: float = 0.5, hidden: tuple[int, ...] = (512, 128)) -> None:
        super().__init__()
        widths = (width, *hidden)
        layers = [layer for pair in pairwise(widths) for layer in _layer(*pair, dropout)]
        self.head = nn.Sequential(*layers, nn.Linear(widths[-1], 4))

    def made(self, x: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        return CLOCKWISE.every(x), torch.arange(4, device=x.device).repeat(len(x))

    def logits(self, features: Tensor) -> Tensor:
        scores: Tensor = self.head(features)
        return scores


class JigsawPretext(Pretext):
    """Tell in which of some orders a picture's tiles were laid, each enlarged to a picture.

    Args:
        width: W.
        grid: tiles a side, 2 or 3.
        count: how many orders, at most T!.
        dropout: in the head.
        seed: chooses the orders.
        each: width of the layer that reads each tile.
        joint: width of the layer that reads all tiles.
        crop: share of a tile's sides that is kept, at a place drawn for each tile, so that edges do not tell.
    """

    orders: Tensor

    def __init__(
        self,
        width: int,
        *,
        grid: int = 3,
        count: int = 35,
        dropout: float = 0.5,
        seed: int = 0,
        each: int = 512,
        joint: int = 4096,
        crop: float = 1.0,
    ) -> None:
        super().__init__()
        self.grid, self.crop = grid, _share(crop)
        self.register_buffer("orders", tile_orders(grid, count, seed), persistent=False)
        self.each = nn.Sequential(*_layer(width, each, dropout))
        self.head = nn.Sequential(*_layer(grid**2 * each, joint, dropout), nn.Linear(joint, count))

    def made(self, x: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        labels = draws.integers(0, len(self.orders), 1)[:, 0]
        pieces = tiles(x, self.grid)
        order = self.orders[labels].view(*pieces.shape[:2], 1, 1, 1).expand_as(pieces)
        laid = cropped_tiles(pieces.gather(1, order), self.crop, draws)
        return _enlarged(laid, x), labels

    def logits(self, features: Tensor) -> Tensor:
        scores: Tensor = self.head(self.each(features).view(len(features) // self.grid**2, -1))
        return scores


class PositionPretext(Pretext):
    """Tell where a tile lies beside the middle one of nine: 0 to 7, row by row, the middle left out.

    Args:
        width: W.
        hidden: width of the head's hidden layer, which reads both tiles.
        crop: share of a tile's sides that is kept, at a place drawn for each tile, so that edges do not tell.
    """

    def __init__(self, width: int, *, hidden: int = 4096, crop: float = 2 / 3) -> None:
        super().__init__()
        self.crop = _share(crop)
        self.head = nn.Sequential(nn.Linear(2 * width, hidden), nn.ReLU(), nn.Linear(hidden, 8))

    def made(self, x: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        labels = draws.integers(0, 8, 1)[:, 0]
        pieces = tiles(x, 3)
        rows = torch.arange(len(x), device=x.device)
        other = pieces[rows, labels.to(x.device) + (labels >= 4).to(x.device, torch.int64)]
        pair = torch.stack([pieces[:, 4], other], 1)
        return _enlarged(cropped_tiles(pair, self.crop, draws), x), labels

    def logits(self, features: Tensor) -> Tensor:
        scores: Tensor = self.head(features.view(len(features) // 2, -1))
        return scores


def tiles(x: Tensor, grid: int) -> Tensor:
    """Return pictures' tiles, row by row, `(B, T, C, h, w)`; where sides do not divide, strips between are left out."""
    height, width = (side // grid for side in x.shape[2:])
    if min(height, width) < 1:
        raise DataError(f"pictures of {tuple(x.shape[2:])} cannot be cut into {grid} x {grid} tiles")
    tops, lefts = (
        [(side - tile) * n // max(1, grid - 1) for n in range(grid)]
        for side, tile in zip(x.shape[2:], (height, width), strict=True)
    )
    return torch.stack([x[:, :, top : top + height, left : left + width] for top in tops for left in lefts], 1)


def cropped_tiles(pieces: Tensor, share: float, draws: Draws) -> Tensor:
    """Return parts of tiles `(B, T, C, h, w)`, each at a place of its own, `(B, T, C, h', w')`.

    Args:
        pieces: the tiles.
        share: of their sides that is kept; at least a pixel is.
        draws: each picture's own stream; nothing is drawn where tiles are kept whole.
    """
    sides = [max(1, round(side * share)) for side in pieces.shape[3:]]
    for axis, side in enumerate(sides, start=3):
        if side < pieces.shape[axis]:
            start = draws.integers(0, pieces.shape[axis] - side + 1, pieces.shape[1]).to(pieces.device)
            places = start[:, :, None] + torch.arange(side, device=pieces.device)
            shape = (*places.shape[:2], 1, *((side, 1) if axis == 3 else (1, side)))
            wanted = [*pieces.shape]
            wanted[axis] = side
            pieces = pieces.gather(axis, places.view(shape).expand(wanted))
    return pieces


def _enlarged(pieces: Tensor, x: Tensor) -> Tensor:
    """Return tiles `(B, T, C, h, w)` at the size of the pictures, one after another."""
    return interpolate(pieces.flatten(0, 1), x.shape[2:], mode="bilinear", align_corners=False)


def _share(crop: float) -> float:
    if not 0 < crop <= 1:
        raise ConfigError(f"crop, a share of a tile's sides, must lie in (0, 1], not {crop!r}")
    return crop


@cache
def tile_orders(grid: int, count: int, seed: int) -> Tensor:
    """Return orders of tiles that are unlike one another, int64 `(count, T)`.

    The first is random; each next one has the largest least Hamming distance to those chosen, and among these the
    largest mean distance, as in the jigsaw paper's published code.

    Raises:
        ConfigError: another grid than 2 or 3, or more orders than there are.
    """
    if grid not in (2, 3):
        raise ConfigError(f"grid must be 2 or 3, not {grid!r}")
    most = math.factorial(grid**2)
    if not 2 <= count <= most:
        raise ConfigError(f"count must lie in [2, {most}], the orders of {grid**2} tiles, not {count!r}")
    known = np.array(list(permutations(range(grid**2))), dtype=np.int8)
    chosen = [derive("jigsaw", seed) % most]
    least = np.full(most, grid**2, dtype=np.int64)
    total = np.zeros(most, dtype=np.int64)
    while len(chosen) < count:
        distance = (known != known[chosen[-1]]).sum(1)
        least, total = np.minimum(least, distance), total + distance
        chosen.append(int((least * (grid**2 * count + 1) + total).argmax()))
    return torch.from_numpy(known[chosen].astype(np.int64))


def _layer(narrow: int, wide: int, dropout: float) -> tuple[nn.Module, ...]:
    return nn.Linear(narrow, wide), nn.ReLU(), nn.Dropout(dropout)
