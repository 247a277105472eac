"""Blur, rotation, cutout, noise, normalisation: pixels and laws."""

import pytest
import torch
from scipy.stats import kstest
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import Draws
from withstand.views.pictures.blur import GaussianBlur, gaussian_blur
from withstand.views.pictures.geometry import Cutout, Rotation, cutout, rotate
from withstand.views.pictures.values import Normalize, RandomGaussianNoise, gaussian_noise


def pictures(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("shape", "kernel"), [((3, 32, 32), 3), ((1, 28, 20), 7), ((3, 60, 90), 23), ((3, 5, 4), 1)])
def test_blur_is_torchvisions(shape, kernel):
    sigma = torch.tensor((0.1, 0.5, 1.0, 2.0))
    x = pictures(4, *shape)
    ours = gaussian_blur(x, sigma, kernel)
    for picture, width, blurred in zip(x, sigma.tolist(), ours, strict=True):
        assert (blurred - F.gaussian_blur(picture, [kernel, kernel], [width, width])).abs().max() < 1e-5


def test_blur_refuses_a_kernel_larger_than_the_picture():
    with pytest.raises(DataError, match="lower kernel_size"):
        gaussian_blur(pictures(1, 1, 8, 8), torch.ones(1), 17)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 20, 31), (3, 41, 24)])
def test_rotation_is_torchvisions(shape):
    degrees = torch.tensor((-170.0, -30.0, 0.0, 12.5, 90.0))
    x = pictures(5, *shape)
    ours = rotate(x, degrees)
    for picture, angle, turned in zip(x, degrees.tolist(), ours, strict=True):
        wanted = F.rotate(picture, angle, InterpolationMode.BILINEAR)
        # At a right angle the outermost pixels sit on the border of the grid: round-off decides.
        assert (turned - wanted).abs()[:, 1:-1, 1:-1].max() < 1e-3
        assert (turned - wanted).abs().mean() < 1e-3
    assert torch.allclose(ours[2], x[2], atol=1e-4)


def test_cutout_paints_the_box_and_nothing_else():
    x = pictures(3, 3, 8, 9)
    boxes = torch.tensor(((2, 3, 4, 2), (-2, 7, 4, 4), (0, 0, 8, 9)))
    painted = cutout(x, boxes, 0.5)
    wanted = x.clone()
    wanted[0, :, 2:6, 3:5] = 0.5
    wanted[1, :, 0:2, 7:9] = 0.5
    wanted[2] = 0.5
    assert torch.equal(painted, wanted)


def test_cutout_has_its_middle_anywhere():
    count = 4000
    view = Cutout(size=1, value=1.0)
    painted = view(Batch(torch.zeros(count, 1, 5, 7), torch.arange(count)), Draws(0, torch.arange(count))).x
    assert torch.equal(painted.sum((1, 2, 3)), torch.ones(count))
    shares = painted.mean(0)[0]
    assert (shares - 1 / 35).abs().max() < 0.01


def test_noise_has_its_strength():
    x = torch.full((3, 1, 60, 60), 0.5)
    noisy = gaussian_noise(x, torch.tensor((0.0, 0.05, 0.1)), Draws(0, torch.arange(3)))
    assert torch.equal(noisy[0], x[0])
    for place, deviation in ((1, 0.05), (2, 0.1)):
        assert kstest(((noisy[place] - 0.5) / deviation).flatten().numpy(), "norm").pvalue > 1e-3


def test_views_draw_uniformly_in_their_ranges():
    count = 3000
    batch, draws = Batch(torch.full((count, 1, 12, 12), 0.5), torch.arange(count)), Draws(0, torch.arange(count))
    noisy = RandomGaussianNoise((0.02, 0.08))(batch, draws).x
    deviation = (noisy - 0.5).flatten(1).std(1)
    assert abs(deviation.mean().item() - 0.05) < 0.002
    assert abs(deviation.std().item() - 0.06 / 12**0.5) < 0.003
    # A blurred point's own weight falls with sigma: a large value is a small sigma.
    point = torch.zeros(count, 1, 12, 12)
    point[:, :, 6, 6] = 1
    batch = batch.with_x(point)
    peak = GaussianBlur((0.5, 1.5), kernel_size=9, probability=1.0)(batch, draws).x[:, 0, 6, 6]
    bounds = gaussian_blur(point[:3], torch.tensor((0.5, 1.0, 1.5)), 9)[:, 0, 6, 6]
    assert bounds[2] <= peak.min()
    assert peak.max() <= bounds[0]
    assert abs((peak < bounds[1]).float().mean().item() - 0.5) < 0.03


def test_probabilities_hold():
    count = 3000
    batch, draws = (
        Batch(pictures(1, 1, 6, 6).expand(count, -1, -1, -1), torch.arange(count)),
        Draws(1, torch.arange(count)),
    )
    for view in (
        GaussianBlur((1.0, 2.0), 3, probability=0.4),
        Rotation((5.0, 50.0), probability=0.4),
        Cutout(3, probability=0.4),
        RandomGaussianNoise((0.1, 0.2), probability=0.4),
    ):
        changed = (view(batch, draws.child(str(view))).x != batch.x).flatten(1).any(1)
        assert abs(changed.float().mean().item() - 0.4) < 0.03, view


def test_normalize_is_torchvisions_and_leaves_the_batch():
    x = pictures(4, 3, 6, 6)
    kept = x.clone()
    view = Normalize((0.4, 0.5, 0.6), (0.2, 0.3, 0.4))
    normalised = view(Batch(x, torch.arange(4)), Draws(0, torch.arange(4))).x
    assert torch.allclose(normalised, F.normalize(kept, view.mean, view.std))
    assert torch.equal(x, kept)
    with pytest.raises(ConfigError, match="3 numbers"):
        view(Batch(x[:, :2], torch.arange(4)), Draws(0, torch.arange(4)))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: GaussianBlur(kernel_size=4),
        lambda: GaussianBlur(sigma=(2.0, 1.0)),
        lambda: Cutout(size=0),
        lambda: Normalize((0.5,), (0.0,)),
        lambda: Normalize((0.5,), (0.1, 0.2)),
        lambda: Rotation(degrees=(10.0, -10.0)),
        lambda: RandomGaussianNoise(deviation=(-0.1, 0.1)),
    ],
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ConfigError):
        wrong()
