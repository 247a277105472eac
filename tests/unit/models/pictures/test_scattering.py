"""Scattering: against its definition by Fourier transforms in float64, its published properties, and kymatio."""

import math

import pytest
import torch
from torch import Tensor

from withstand.core.errors import ConfigError, DataError
from withstand.data.pictures.fashion_mnist.small import read_small
from withstand.models.pictures.wavelet_scattering.scattering import Scattering, path_count
from withstand.models.pictures.wavelet_scattering.scattering_encoder import ScatteringEncoder
from withstand.models.pictures.wavelet_scattering.wavelets import low_pass, morlet_bank

EXACT = {"rtol": 0, "atol": 1e-10}


def pictures(count: int = 8) -> Tensor:
    return torch.from_numpy(read_small("train")[0][:count]).double() / 255


def wave(side: tuple[int, int], sigma: float, angle: float, frequency: float, slant: float) -> Tensor:
    """A Gabor function of a plain formula, summed over copies of the domain, complex `(rows, columns)`."""
    rows, columns = (torch.arange(n, dtype=torch.float64) for n in side)
    total = torch.zeros(side, dtype=torch.complex128)
    for down in range(-2, 3):
        for right in range(-2, 3):
            u, v = rows[:, None] + down * side[0], columns + right * side[1]
            a = math.cos(angle) * u + math.sin(angle) * v
            b = -math.sin(angle) * u + math.cos(angle) * v
            total += torch.exp(-(a**2 + slant**2 * b**2) / (2 * sigma**2)) * torch.exp(1j * frequency * a)
    return total * slant / (2 * math.pi * sigma**2)


def by_definition(x: Tensor, scales: int, orientations: int) -> Tensor:
    """Scattering of pictures `(M, H, W)`, path by path, each by a Fourier transform of the whole padded picture."""
    size = x.shape[-2:]
    wide = tuple((side // 2**scales + 2) * 2**scales for side in size)
    rows, columns = (
        [abs((n - (big - side) // 2 + side - 1) % (2 * side - 2) - (side - 1)) for n in range(big)]
        for side, big in zip(size, wide, strict=True)
    )
    padded = x[:, rows][:, :, columns]
    phi = torch.fft.fft2(wave(wide, 0.8 * 2 ** (scales - 1), 0.0, 0.0, 1.0))
    psi = {}
    for j in range(scales):
        for place in range(orientations):
            angle = (int(orientations / 2 - 1) - place) * math.pi / orientations
            settings = (wide, 0.8 * 2**j, angle)
            gabor, envelope = (wave(*settings, f, 4 / orientations) for f in (3 * math.pi / 4 / 2**j, 0.0))
            psi[j, place] = torch.fft.fft2(gabor - gabor.sum() / envelope.sum() * envelope)

    def convolve(maps: Tensor, kernel: Tensor, at: int, to: int) -> Tensor:
        """Convolve maps that were subsampled by 2^at, with the kernel's low frequencies, and subsample them to 2^to."""
        tall, broad = maps.shape[-2:]
        keep = [torch.arange(-(n // 2), n - n // 2) for n in (tall, broad)]
        low = torch.zeros(tall, broad, dtype=torch.complex128)
        low[keep[0][:, None], keep[1]] = kernel[keep[0][:, None], keep[1]]
        full = torch.fft.ifft2(torch.fft.fft2(maps) * (low if at else kernel))
        return full[..., :: 2 ** (to - at), :: 2 ** (to - at)]

    def smooth(maps: Tensor, at: int) -> Tensor:
        return convolve(maps, phi, at, scales).real[..., 1:-1, 1:-1]

    found = [smooth(padded, 0)]
    first = {key: convolve(padded, kernel, 0, key[0]).abs() for key, kernel in psi.items()}
    found += [smooth(maps, key[0]) for key, maps in first.items()]
    for (low, _), maps in first.items():
        for (high, _), kernel in psi.items():
            if high > low:
                found.append(smooth(convolve(maps, kernel, low, high).abs(), high))
    return torch.stack(found, 1)


@pytest.mark.parametrize(("shape", "scales", "orientations"), [((16, 16), 2, 4), ((17, 22), 3, 3), ((8, 12), 1, 6)])
def test_equals_the_definition_and_its_gradient(shape: tuple[int, int], scales: int, orientations: int) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(3, *shape, dtype=torch.float64, generator=generator).requires_grad_()
    ours = Scattering(shape, scales, orientations)
    expected = by_definition(x, scales, orientations)
    torch.testing.assert_close(ours(x), expected, **EXACT)
    with torch.no_grad():  # writes into memory of its own
        torch.testing.assert_close(ours(x), expected, **EXACT)
    weights = torch.rand(expected.shape, dtype=torch.float64, generator=generator)
    (mine,), (theirs,) = (torch.autograd.grad((found * weights).sum(), x) for found in (ours(x), expected))
    torch.testing.assert_close(mine, theirs, **EXACT)


@pytest.mark.parametrize(("scales", "orientations", "paths", "side"), [(1, 4, 5, 16), (2, 8, 81, 8), (2, 16, 289, 8)])
def test_number_and_size_of_paths(scales: int, orientations: int, paths: int, side: int) -> None:
    scattering = Scattering((32, 32), scales, orientations)
    assert scattering(torch.rand(2, 3, 32, 32)).shape == (2, 3, paths, side, side)
    assert path_count(scales, orientations) == paths
    assert list(scattering.parameters()) == []
    assert scattering.state_dict() == {}
    first = Scattering((32, 32), scales, orientations, order=1)
    assert first.paths == 1 + scales * orientations
    x = torch.rand(2, 32, 32)
    torch.testing.assert_close(first(x), scattering(x)[:, : first.paths])


def test_batches_and_types_do_not_matter() -> None:
    scattering = Scattering((16, 16), 2, 4)
    x = torch.rand(21, 16, 16)
    whole = scattering(x)
    torch.testing.assert_close(torch.cat([scattering(part) for part in x.split(5)]), whole)
    torch.testing.assert_close(scattering(x.double()).float(), whole)
    torch.testing.assert_close(scattering(x.requires_grad_()).detach(), whole)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(scattering(x.detach()), whole)


def test_it_moves_less_than_the_picture_and_scales_with_it() -> None:
    scattering, x = Scattering((28, 28), 2, 8), pictures(16)
    found = scattering(x)
    ratio = (found[:, None] - found).flatten(2).norm(dim=2) / (x[:, None] - x).flatten(2).norm(dim=2).clamp_min(1e-9)
    assert ratio.max() <= 1
    torch.testing.assert_close(scattering(3 * x), 3 * found)
    assert (found.flatten(1).norm(dim=1) <= x.flatten(1).norm(dim=1)).all()


def test_a_constant_has_nothing_but_its_mean() -> None:
    found = Scattering((32, 32), 2, 8)(torch.full((1, 32, 32), 0.7, dtype=torch.float64))[0]
    torch.testing.assert_close(found[0], torch.full((8, 8), 0.7, dtype=torch.float64), rtol=0, atol=1e-6)
    assert found[1:].abs().max() < 1e-12


def test_a_flat_picture_gives_a_finite_gradient() -> None:
    x = torch.zeros(1, 16, 16, requires_grad=True)
    Scattering((16, 16), 2, 4)(x).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_shifts_change_it_less_than_the_picture() -> None:
    x = pictures(32)
    scattering = Scattering((28, 28), 2, 8)

    def change(before: Tensor, after: Tensor) -> Tensor:
        return (before - after).flatten(1).norm(dim=1) / before.flatten(1).norm(dim=1)

    moved = x.roll(1, 2)
    assert (change(scattering(x), scattering(moved)) < 0.6 * change(x, moved)).all()


def test_a_quarter_turn_moves_orientations_by_half_of_them() -> None:
    x, orientations = pictures(16), 8
    scattering = Scattering((28, 28), 1, orientations, order=1)
    found = scattering(x)[:, 1:]
    turned = scattering(x.rot90(1, (1, 2)))[:, 1:].rot90(-1, (2, 3))
    errors = [float((turned - found.roll(shift, 1)).norm()) for shift in range(orientations)]
    assert min(range(orientations), key=errors.__getitem__) == orientations // 2


@pytest.mark.parametrize("orientations", [4, 8, 16])
def test_littlewood_paley_sum(orientations: int) -> None:
    """The filters keep energy from growing, and cover all frequencies that a picture has."""
    side, scales = (40, 40), 2
    total = low_pass(side, scales).square()
    for scale in range(scales):
        power = morlet_bank(side, scale, orientations).square().sum(0)
        mirrored = power.flip(0, 1).roll((1, 1), (0, 1))  # real pictures: a frequency and its opposite are one
        total += (power + mirrored) / 2
    frequency = 2 * math.pi * torch.fft.fftfreq(40, dtype=torch.float64)
    radius = (frequency[:, None].square() + frequency.square()).sqrt()
    assert total[0, 0] == pytest.approx(1, abs=1e-6)
    assert total.max() <= 1.1 * orientations / 8 + 1
    assert total[radius < 0.9 * math.pi].min() > 0.05


def test_wavelets_have_no_mean() -> None:
    assert morlet_bank((36, 28), 1, 5)[:, 0, 0].abs().max() < 1e-12


def test_scales_larger_than_the_picture_are_refused() -> None:
    with pytest.raises(ConfigError, match="scales 5 would average over 32 pixels, more than pictures of 28 x 30 have"):
        Scattering((28, 30), 5, 8)
    with pytest.raises(ConfigError, match="orientations must be at least 1"):
        Scattering((28, 28), 2, 0)
    with pytest.raises(DataError, match=r"floating pictures of \(28, 28\)"):
        Scattering((28, 28), 2, 4)(torch.rand(1, 32, 32))


def test_the_published_encoder() -> None:
    encoder = ScatteringEncoder((3, 32, 32), orientations=16, blocks=30, scatter_norm=False)
    assert encoder.width == 2048
    sizes = {name: sum(p.numel() for p in part.parameters()) for name, part in encoder.named_children()}
    assert sizes["scattering"] == 0
    assert sizes["first"] == 867 * 256 * 9
    # With the projector (2048 x 2048 and 2048 x 128, with biases) about 15.5 million.
    assert sum(sizes.values()) + 2048 * 2049 + 2049 * 128 == pytest.approx(15.5e6, rel=0.01)
    eight = sum(p.numel() for p in ScatteringEncoder((3, 32, 32), orientations=16, scatter_norm=False).parameters())
    assert eight + 2048 * 2049 + 2049 * 128 == pytest.approx(6.0e6, rel=0.03)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 8, 12)])
def test_encoder_reads_any_channels_and_sizes(shape: tuple[int, int, int]) -> None:
    encoder = ScatteringEncoder(shape, orientations=3, blocks=2, width=4).eval()
    assert encoder(torch.rand(2, *shape)).shape == (2, encoder.width)


@pytest.mark.parametrize("settings", [{"blocks": 10}, {"width": 1}])
def test_encoder_settings_are_checked(settings: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(settings))} must be"):
        ScatteringEncoder((3, 32, 32), **settings)


def test_it_can_be_exported() -> None:
    scattering, x = Scattering((8, 8), 2, 3), torch.rand(5, 2, 8, 8)
    program = torch.export.export(scattering, (x,)).module()
    torch.testing.assert_close(program(x), scattering(x))


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("shape", "scales", "orientations"), [((32, 32), 2, 8), ((32, 32), 1, 4), ((28, 28), 3, 6), ((30, 21), 2, 5)]
)
def test_equals_kymatio(shape: tuple[int, int], scales: int, orientations: int) -> None:
    # kymatio.torch does not import beside today's SciPy; its two-dimensional front end alone does.
    frontend = pytest.importorskip("kymatio.scattering2d.frontend.torch_frontend")
    x = torch.rand(4, 3, *shape, generator=torch.Generator().manual_seed(0))
    theirs = frontend.ScatteringTorch2D(J=scales, shape=shape, L=orientations)(x)
    # It divides each filter by 3.1415.
    ratio = math.pi / 3.1415
    orders = torch.ones(theirs.shape[2])
    orders[1:], orders[1 + scales * orientations :] = 2, 3
    ours = Scattering(shape, scales, orientations)(x.double())
    torch.testing.assert_close((ours * (ratio**orders)[:, None, None]).float(), theirs, rtol=0, atol=1e-6)
