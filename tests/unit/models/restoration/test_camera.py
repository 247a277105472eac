"""A camera's pipeline: its steps and their inverses, slopes that stay finite, and the law of drawn cameras."""

import pytest
import torch
from torch import Tensor

from withstand.core.errors import ConfigError
from withstand.core.random import Draws
from withstand.models.restoration.bayer import demosaic, mosaic
from withstand.models.restoration.camera import Camera, process, sensor_noise, unprocess

IDENTITY = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
PLAIN = Camera(1.0, 1.0, 1.0, IDENTITY, gamma=1.0, tone=False)


def pictures(count: int = 3) -> Tensor:
    return torch.rand(count, 3, 6, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_unprocessing_is_undone() -> None:
    x = pictures()
    drawn = Camera().drawn(Draws(0, torch.arange(3)))
    for colors in (Camera().colors(), PLAIN.colors(), drawn):
        assert torch.allclose(process(unprocess(x, colors, clip=False), colors, clip=False), x, atol=1e-9)
    # With clipping too, where nothing is clipped.
    middle = 0.3 + 0.2 * x
    assert torch.allclose(process(unprocess(middle, drawn), drawn), middle, atol=1e-6)


def test_steps_are_the_published_ones() -> None:
    colors = Camera(2.0, 1.5, 1.25, IDENTITY).colors()
    x = torch.full((1, 3, 1, 1), 0.4, dtype=torch.float64)
    linear = (0.5 - torch.sin(torch.asin(1 - 2 * x) / 3)) ** 2.2
    assert torch.allclose(unprocess(x, colors).flatten(), linear.flatten() / torch.tensor([2.5, 1.25, 1.875]).double())
    white = torch.ones(1, 3, 1, 1, dtype=torch.float64)
    assert torch.allclose(unprocess(white, colors), white), "highlights are kept"


def test_nothing_is_left_of_a_pipeline_of_units_but_demosaicing() -> None:
    raw = mosaic(pictures())
    assert torch.allclose(process(demosaic(raw, way="bilinear"), PLAIN.colors()), demosaic(raw, way="bilinear"))


def test_slopes_are_finite_at_both_ends() -> None:
    x = torch.tensor([0.0, 1.0], dtype=torch.float64).view(2, 1, 1, 1).expand(2, 3, 4, 4).clone().requires_grad_()
    colors = Camera().colors()
    for function in (process, unprocess):
        (slope,) = torch.autograd.grad(function(x, colors).sum(), x)
        assert slope.isfinite().all()


def test_drawn_cameras_follow_the_published_law_each_by_its_own_stream() -> None:
    colors = Camera().drawn(Draws(0, torch.arange(2000)))
    assert torch.allclose(colors.matrix.sum(2), torch.ones(2000, 3, dtype=torch.float64))
    red, blue = colors.gains[:, 0] / colors.gains[:, 1], colors.gains[:, 2] / colors.gains[:, 1]
    assert 1.9 <= float(red.min()) < 1.91
    assert 2.39 < float(red.max()) <= 2.4
    assert 1.5 <= float(blue.min()) < 1.51
    assert abs(float((1 / colors.gains[:, 1]).mean()) - 0.8) < 0.01
    alone = Camera().drawn(Draws(0, torch.tensor([7])))
    assert torch.equal(alone.matrix[0], colors.matrix[7])
    assert torch.equal(alone.gains[0], colors.gains[7])


def test_sensor_noise_has_the_published_variance() -> None:
    raw = torch.full((400, 4, 16, 16), 0.5, dtype=torch.float64)
    noisy = sensor_noise(raw, Draws(0, torch.arange(400)))
    variance = (noisy - 0.5).square().mean((1, 2, 3))
    # log shot is uniform between 1e-4 and 0.012; read noise adds little at this value.
    assert 0.5e-4 * 0.8 < float(variance.min()) < 1.5e-4
    assert 0.004 < float(variance.max()) < 0.012
    assert 0 <= float(noisy.min()) <= float(noisy.max()) <= 1


@pytest.mark.parametrize(
    "settings",
    [{"red": 0.0}, {"blue": -1.0}, {"gain": float("nan")}, {"gamma": 0.0}, {"matrix": ((1.0, 1.0, 0.0),) * 3}],
)
def test_bad_settings_are_refused_by_name(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        Camera(**settings)  # type: ignore[arg-type]


def test_a_matrix_that_makes_colors_of_grey_is_refused() -> None:
    with pytest.raises(ConfigError, match="keep grey"):
        Camera(matrix=((2.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)))
