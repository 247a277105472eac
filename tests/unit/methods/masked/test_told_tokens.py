"""MaskFeat and BEiT: targets against plain formulas, and the losses of hidden patches alone."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from toys import ToyPictures
from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import isolated
from withstand.core.roles import Epoch
from withstand.methods.masked.beit import BEiT, nearest_code
from withstand.methods.masked.maskfeat import MaskFeat
from withstand.models.pictures.normalized import Normalized
from withstand.models.pictures.oriented_gradients import oriented_gradients
from withstand.models.pictures.transformers.vit import ViT


def encoder(patch: int = 4) -> Normalized:
    with isolated("tokens"):
        return Normalized(ViT(patch, 24, 2, 3), (0.5,) * 3, (0.25,) * 3)


def batch(count: int = 5, size: int = 16) -> Batch:
    return ToyPictures(count, size=size)[range(count)]


def plain_histograms(x: Tensor, cell: int, bins: int) -> Tensor:
    """Pixel by pixel: Sobel slopes of a mirrored border, each pixel's strength to the bin of its direction."""
    count, channels, height, width = x.shape
    found = torch.zeros(count, height // cell, width // cell, channels, bins, dtype=torch.float64)

    def at(b: int, c: int, row: int, column: int) -> float:
        row = abs(row) if row < height else 2 * (height - 1) - row
        column = abs(column) if column < width else 2 * (width - 1) - column
        return float(x[b, c, row, column])

    for b in range(count):
        for c in range(channels):
            for i in range(height):
                for j in range(width):
                    gx = sum(
                        w * (at(b, c, i + d, j - 1) - at(b, c, i + d, j + 1)) for d, w in ((-1, 1), (0, 2), (1, 1))
                    )
                    gy = sum(
                        w * (at(b, c, i - 1, j + d) - at(b, c, i + 1, j + d)) for d, w in ((-1, 1), (0, 2), (1, 1))
                    )
                    place = math.floor(math.atan2(gx, gy) / math.pi * bins) % bins
                    found[b, i // cell, j // cell, c, place] += math.hypot(gx, gy)
    return found / found.norm(dim=-1, keepdim=True).clamp_min(1e-12)


def test_histograms_are_the_plain_ones() -> None:
    x = torch.rand(2, 2, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(oriented_gradients(x, 4), plain_histograms(x, 4, 9))


def test_histograms_know_directions_without_sign_and_neither_brightness_nor_contrast() -> None:
    ramp = torch.arange(8, dtype=torch.float64).expand(1, 1, 8, 8)
    up, down, across = (oriented_gradients(one, 8)[0, 0, 0, 0] for one in (ramp, -ramp, ramp.transpose(2, 3)))
    assert torch.equal(up, down)
    assert int(up.argmax()) == 4, "half a quarter turn from the rows"
    assert int(across.argmax()) == 0
    x = torch.rand(1, 3, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(oriented_gradients(x, 4), oriented_gradients(0.3 * x + 5, 4))
    assert not oriented_gradients(torch.full((1, 1, 8, 8), 0.4), 4).any(), "flat cells are 0, and no NaN"


@pytest.mark.parametrize(("patch", "cell"), [(4, 4), (16, 8)])
def test_each_patch_is_asked_for_its_own_cells(patch: int, cell: int) -> None:
    method = MaskFeat(encoder(patch)).double()
    x = torch.rand(3, 3, 32, 32, dtype=torch.float64)
    wanted = method.wanted(x)
    side = 32 // patch
    assert method.cell == cell
    every = oriented_gradients(x, cell).flatten(3)
    inside = patch // cell
    for number in (0, side + 1):
        row, column = divmod(number, side)
        own = every[:, row * inside : (row + 1) * inside, column * inside : (column + 1) * inside].flatten(1)
        torch.testing.assert_close(wanted[:, number], own)


def test_losses_are_means_over_hidden_patches() -> None:
    for method in (MaskFeat(encoder()).double(), BEiT(encoder(), vocabulary=7).double()):
        some = batch()
        x, hidden = some.x.double() / 255, method.masks(some)
        assert 0 < int(hidden.sum()) < hidden.numel()
        told = method.decoder(method.encoder.filled(x, hidden, method.filler)).flatten(0, 1)[hidden.flatten()]
        if isinstance(method, MaskFeat):
            expected = (told - method.wanted(x).flatten(0, 1)[hidden.flatten()]).square().mean()
        else:
            patches = method.encoder.patches(x).flatten(0, 1)[hidden.flatten()]
            expected = cross_entropy(told, torch.cdist(patches, method.codes).argmin(1))
        torch.testing.assert_close(method.step(some)["loss"], expected)


def test_tokens_are_the_clusters_of_the_sets_own_patches_and_stay() -> None:
    """Of pictures whose patches have three colors, three tokens: each color is one."""
    method = BEiT(encoder(), vocabulary=3)
    shades = torch.tensor([0.1, 0.5, 0.9])[torch.arange(16) % 3].view(1, 1, 4, 4)
    x = shades.repeat_interleave(4, 2).repeat_interleave(4, 3).expand(30, 3, -1, -1)
    method.before_epoch(Epoch(0, 0, lambda function: function(x)))
    tokens = nearest_code(method.encoder.patches(x[:1])[0], method.codes)
    assert len({*tokens.tolist()}) == 3
    assert torch.equal(tokens, tokens[:3][torch.arange(16) % 3])
    torch.testing.assert_close(method.codes[tokens[0]], torch.full((48,), (0.1 - 0.5) / 0.25))
    kept = method.codes.clone()
    method.before_epoch(Epoch(1, 0, lambda function: function(x * 0)))
    assert torch.equal(method.codes, kept)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"vocabulary 99 is more than 4 patches of each of the 4 samples: use 16"):
        BEiT(encoder(), vocabulary=99).accept(ToyPictures(4, size=16), 2)
    with pytest.raises(ConfigError, match="vocabulary must be"):
        BEiT(encoder(), vocabulary=1)
    with pytest.raises(ConfigError, match="bins must be"):
        MaskFeat(encoder(), bins=1)
    for cls in (BEiT, MaskFeat):
        with pytest.raises(ConfigError, match="must lie inside"):
            cls(encoder(), ratio=0.0)
    with pytest.raises(DataError, match="cells of 3 pixels do not tile"):
        oriented_gradients(torch.rand(1, 1, 8, 8), 3)
