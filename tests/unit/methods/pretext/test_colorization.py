"""Colorization: Lab of known colors, shares of bins, weights of rare colors, and what the encoder may see."""

import numpy as np
import pytest
import torch
from torch import Tensor

from toys import ToyPictures
from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import isolated
from withstand.core.roles import Epoch
from withstand.data.arrays.source import ArraySource
from withstand.methods.pretext.colorization import Colorization, rarity
from withstand.models.pictures.lab import color_bins, lab
from withstand.models.pictures.normalized import Normalized
from withstand.models.pictures.transformers.vit import ViT


def made(patch: int = 4, **settings: float) -> Colorization:
    with isolated("color"):
        return Colorization(Normalized(ViT(patch, 24, 1, 3), (0.5,) * 3, (0.25,) * 3), **settings)


@pytest.mark.parametrize(
    ("rgb", "known"),
    [
        ((1, 1, 1), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((0.5, 0.5, 0.5), (53.389, 0, 0)),
        ((1, 0, 0), (53.241, 80.092, 67.203)),
        ((0, 1, 0), (87.735, -86.183, 83.179)),
        ((0, 0, 1), (32.297, 79.188, -107.860)),
    ],
)
def test_lab_of_known_colors(rgb: tuple[float, ...], known: tuple[float, ...]) -> None:
    found = lab(torch.tensor(rgb, dtype=torch.float64).view(1, 3, 1, 1)).flatten()
    torch.testing.assert_close(found, torch.tensor(known, dtype=torch.float64), atol=0.03, rtol=0)


def test_bins_are_the_squares_that_colors_lie_in() -> None:
    bins = color_bins()
    assert 250 < len(bins) < 330
    assert bool((bins % 10 == 0).all())
    colors = lab(torch.rand(1, 3, 60, 60, generator=torch.Generator().manual_seed(0)))[0, 1:].flatten(1).T
    assert float((torch.cdist(colors, bins).min(1).values).max()) < 8, "no color is far from all bins"


@pytest.mark.parametrize(("patch", "cells"), [(2, 1), (4, 1), (8, 4)])
def test_cells_are_means_of_their_own_pixels(patch: int, cells: int) -> None:
    method = made(patch).double()
    x = torch.rand(2, 3, 16, 16, dtype=torch.float64)
    colors = method.colors(x)
    assert colors.shape == (2, (16 // patch) ** 2, cells, 2)
    axes = lab(x)[:, 1:]
    side = patch if cells == 1 else 4
    torch.testing.assert_close(colors[:, 1, 0], axes[:, :, :side, patch : patch + side].mean((2, 3)))
    torch.testing.assert_close(colors[:, -1, -1], axes[:, :, -side:, -side:].mean((2, 3)))


def test_a_color_is_shared_by_its_five_nearest_bins() -> None:
    method = made().double()
    shares, weights = method.wanted(torch.full((1, 3, 8, 8), 0.5, dtype=torch.float64))
    grey = int((method.bins == 0).all(1).nonzero())
    torch.testing.assert_close(shares.sum(-1), torch.ones(1, 4, 1, dtype=torch.float64))
    assert int((shares[0, 0, 0] > 0).sum()) == 5
    near = np.exp(-100 / 50)
    assert float(shares[0, 0, 0, grey]) == pytest.approx(1 / (1 + 4 * near), abs=1e-6)
    assert bool((weights == 1).all())


def plain(method: Colorization, x: Tensor) -> Tensor:
    axes = lab(x)
    tokens = method.encoder.tokens((axes[:, :1] / 100).repeat(1, 3, 1, 1))
    log = method.decoder(tokens).log_softmax(-1)
    total = torch.zeros((), dtype=torch.float64)
    for b in range(len(x)):
        for patch in range(tokens.shape[1]):
            row, column = divmod(patch, 4)
            color = axes[b, 1:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4].mean((1, 2))
            off = (method.bins - color).norm(dim=1)
            order = off.argsort()[:5]
            near = torch.exp(-(off[order] ** 2) / 50)
            total = total - method.weights[order[0]] * (near / near.sum() * log[b, patch, order]).sum()
    return total / tokens[..., 0].numel()


def test_the_loss_is_the_papers() -> None:
    method = made().double()
    method.weights.uniform_(0.5, 2, generator=torch.Generator().manual_seed(0))
    some = ToyPictures(3, size=16)[range(3)]
    torch.testing.assert_close(method.step(some)["loss"], plain(method, some.x.double() / 255), rtol=1e-8, atol=1e-10)


def test_the_encoder_sees_lightness_alone() -> None:
    method = made().double()
    seen: list[Tensor] = []
    method.encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    method.encoder.tokens = lambda x: seen.append(x) or torch.zeros(len(x), 4, 24).double()  # type: ignore[method-assign]
    x = torch.rand(2, 3, 8, 8, dtype=torch.float64)
    method.step(Batch(x, torch.arange(2)))
    assert torch.equal(seen[0][:, 0], seen[0][:, 1])
    torch.testing.assert_close(seen[0][:, 2], lab(x)[:, 0] / 100)


def test_rare_colors_weigh_more_and_the_mean_weight_of_the_set_is_1() -> None:
    bins = color_bins()
    counts = torch.zeros(len(bins), dtype=torch.int64)
    counts[0], counts[100] = 900, 100
    weights = rarity(counts, bins, 0.5)
    assert float(weights[0]) < float(weights[100]) < float(weights[200])
    assert torch.allclose(rarity(counts, bins, 1.0), torch.ones(len(bins), dtype=torch.float64))
    near = (-torch.cdist(bins.double(), bins.double()).square() / 50).exp()
    smooth = (near / near.sum(1, keepdim=True)).T @ counts.double() / 1000
    assert float((smooth * weights).sum()) == pytest.approx(1)
    assert rarity(counts, bins, 0.0).isfinite().all()


def test_colors_are_counted_once_before_the_first_epoch() -> None:
    method = made()
    x = torch.zeros(20, 3, 8, 8)
    x[:, 0] = 1
    method.before_epoch(Epoch(0, 0, lambda function: function(x)))
    red = method.wanted(x[:1])[1]
    assert float(red.max()) < 1.1 < float(method.weights.max())
    kept = method.weights.clone()
    method.before_epoch(Epoch(1, 0, lambda function: function(1 - x)))
    assert torch.equal(method.weights, kept)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="evened must lie"):
        made(evened=1.5)
    grey = ArraySource(np.zeros((4, 1, 8, 8), dtype=np.uint8), layout="NCHW")
    with pytest.raises(DataError, match="pictures with 3 channels, and these have 1"):
        made().accept(grey, 2)
