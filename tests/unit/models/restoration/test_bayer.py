"""Bayer mosaics: what is recorded stays, flat and sloped pictures come back, and peers agree."""

from itertools import product
from typing import get_args

import pytest
import torch
from torch import Tensor

from withstand.core.errors import ConfigError, DataError
from withstand.models.restoration.bayer import (
    Interpolation,
    Pattern,
    demosaic,
    mosaic,
    packed,
    packed_mosaic,
    unpacked,
)

PATTERNS: tuple[Pattern, ...] = get_args(Pattern)
WAYS: tuple[Interpolation, ...] = get_args(Interpolation)
BOTH = list(product(PATTERNS, WAYS))


def pictures(count: int = 2, height: int = 8, width: int = 10, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, height, width, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_each_pixel_records_its_patterns_color(pattern: Pattern) -> None:
    x = pictures()
    raw = mosaic(x, pattern)
    for row, column in product(range(8), range(10)):
        color = "RGB".index(pattern[2 * (row % 2) + column % 2])
        assert torch.equal(raw[:, 0, row, column], x[:, color, row, column])
    assert torch.equal(packed(raw), packed_mosaic(x, pattern))
    assert torch.equal(unpacked(packed(raw)), raw)


def test_patterns_are_shifts_of_one_another() -> None:
    x = pictures()
    for pattern, (down, right) in {"GRBG": (0, 1), "GBRG": (1, 0), "BGGR": (1, 1)}.items():
        shifted = mosaic(x.roll((down, right), (2, 3)), pattern)  # type: ignore[arg-type]
        assert torch.equal(shifted, mosaic(x, "RGGB").roll((down, right), (2, 3)))


@pytest.mark.parametrize(("pattern", "way"), BOTH)
def test_what_is_recorded_stays_and_flat_and_sloped_pictures_come_back(pattern: Pattern, way: Interpolation) -> None:
    raw = mosaic(pictures(), pattern)
    assert torch.equal(mosaic(demosaic(raw, pattern, way), pattern), raw)
    flat = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64).view(1, 3, 1, 1).expand(1, 3, 8, 10)
    grey = torch.full_like(flat, 0.3)
    assert torch.allclose(demosaic(mosaic(grey, pattern), pattern, way), grey, atol=1e-15)
    # Malvar's corrections cancel where each color is flat, too.
    assert torch.allclose(demosaic(mosaic(flat, pattern), pattern, way), flat, atol=1e-15)
    rows, columns = torch.arange(8.0).double()[:, None], torch.arange(10.0).double()
    ramp = torch.stack([0.1 * color + 0.01 * rows + 0.02 * columns for color in range(3)])[None]
    found = demosaic(mosaic(ramp, pattern), pattern, way)
    assert torch.allclose(found[..., 2:-2, 2:-2], ramp[..., 2:-2, 2:-2], atol=1e-15)


@pytest.mark.parametrize("way", WAYS)
def test_two_thirds_of_all_directions_are_lost_and_what_lies_beside_the_samples_wholly(way: Interpolation) -> None:
    basis = torch.eye(3 * 6 * 6, dtype=torch.float64).view(-1, 3, 6, 6)
    matrix = demosaic(mosaic(basis), way=way).flatten(1)
    assert int(torch.linalg.matrix_rank(matrix)) == 6 * 6
    x = pictures(1, 6, 6)
    beside = torch.ones_like(x)
    for place, color in enumerate("RGGB"):
        beside[:, "RGB".index(color), place // 2 :: 2, place % 2 :: 2] = 0
    assert torch.equal(demosaic(mosaic(x + 0.1 * beside), way=way), demosaic(mosaic(x), way=way))


def by_hand(raw: Tensor, pattern: Pattern, way: Interpolation) -> Tensor:
    """The interpolation pixel by pixel, away from the border, by the published kernels."""
    n = raw[0, 0].numpy()
    made = torch.zeros(3, *raw.shape[2:], dtype=torch.float64)
    bends = way == "malvar"
    for r, c in product(range(2, n.shape[0] - 2), range(2, n.shape[1] - 2)):
        here, beside = pattern[2 * (r % 2) + c % 2], pattern[2 * (r % 2) + 1 - c % 2]
        cross, slant = (
            n[r - 1, c] + n[r + 1, c] + n[r, c - 1] + n[r, c + 1],
            n[r - 1 : r + 2 : 2, c - 1 : c + 2 : 2].sum(),
        )
        far_row, far_column = n[r, c - 2] + n[r, c + 2], n[r - 2, c] + n[r + 2, c]
        far = far_row + far_column
        made["RGB".index(here), r, c] = n[r, c]
        if here == "G":
            for color in "RB":
                near, along, across = n[r, c - 1] + n[r, c + 1], far_row, far_column
                if beside != color:
                    near, along, across = n[r - 1, c] + n[r + 1, c], far_column, far_row
                told = (4 * near + 5 * n[r, c] - along - slant + 0.5 * across) / 8 if bends else near / 2
                made["RGB".index(color), r, c] = told
        else:
            made[1, r, c] = (2 * cross + 4 * n[r, c] - far) / 8 if bends else cross / 4
            other = "B" if here == "R" else "R"
            made["RGB".index(other), r, c] = (2 * slant + 6 * n[r, c] - 1.5 * far) / 8 if bends else slant / 4
    return made


@pytest.mark.parametrize(("pattern", "way"), BOTH)
def test_kernels_are_the_published_ones(pattern: Pattern, way: Interpolation) -> None:
    raw = mosaic(pictures(1), pattern)
    found = demosaic(raw, pattern, way)[0]
    assert torch.allclose(found[:, 2:-2, 2:-2], by_hand(raw, pattern, way)[:, 2:-2, 2:-2], atol=1e-14)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_bilinear_is_kornias(pattern: Pattern) -> None:
    color = pytest.importorskip("kornia.color")
    # OpenCV's names are of the pixels from (1, 1) on.
    kind = {"RGGB": color.CFA.BG, "BGGR": color.CFA.RG, "GRBG": color.CFA.GB, "GBRG": color.CFA.GR}[pattern]
    raw = mosaic(pictures(), pattern)
    wanted = color.raw_to_rgb(raw, kind)
    assert torch.allclose(demosaic(raw, pattern, "bilinear")[..., 2:-2, 2:-2], wanted[..., 2:-2, 2:-2], atol=1e-12)


def test_bad_input_is_refused() -> None:
    with pytest.raises(DataError, match="even sides"):
        mosaic(pictures(1, 7, 8))
    with pytest.raises(DataError, match="even sides of 4 or more"):
        demosaic(torch.zeros(1, 1, 2, 8))
    with pytest.raises(DataError, match="even sides"):
        packed(torch.zeros(1, 1, 5, 8))
    with pytest.raises(ConfigError, match="RGGB"):
        mosaic(pictures(), "RGBG")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="malvar"):
        demosaic(torch.zeros(1, 1, 8, 8), way="malver")  # type: ignore[arg-type]
