"""Purifiers against independent readers and closed forms: SciPy's median, libjpeg by Pillow, levels, ranges, draws."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import median_filter
from torch import Tensor, nn

from withstand.core.errors import ConfigError, DataError
from withstand.core.random import Draws, content_draws
from withstand.core.victims.victim import Victim
from withstand.defenses.filters import JPEG, BitDepth, MedianSmoothing, NoisyInput, named_purifier
from withstand.defenses.purifier import Purifier

PIXELS = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
LOOK = Victim(nn.Flatten())


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_values_become_the_nearest_of_so_many_levels(bits: int) -> None:
    found = BitDepth(LOOK, bits).purify(PIXELS)
    levels = torch.linspace(0, 1, 2**bits)
    nearest = levels[(PIXELS[..., None] - levels).abs().argmin(-1)]
    torch.testing.assert_close(found, nearest)


@pytest.mark.parametrize("window", [3, 5])
def test_the_median_is_scipys(window: int) -> None:
    found = MedianSmoothing(LOOK, window).purify(PIXELS)
    wanted = median_filter(PIXELS.numpy(), size=(1, 1, window, window), mode="mirror")
    np.testing.assert_array_equal(found.numpy(), wanted)


def test_the_median_of_four_is_the_mean_of_the_middle_two() -> None:
    x = torch.tensor([[0.1, 0.9], [0.4, 0.2]]).expand(1, 1, 2, 2)
    found = MedianSmoothing(LOOK, 2).purify(x)
    assert found[0, 0, 1, 1] == pytest.approx(0.3)  # the only window without a reflection


def test_jpeg_is_libjpegs_within_a_level() -> None:
    smooth = torch.nn.functional.interpolate(PIXELS[:, :, :8, :8], size=32, mode="bilinear").mul(255).round().div(255)
    found = JPEG(LOOK, 75).purify(smooth)
    for picture, ours in zip(smooth, found, strict=True):
        held = io.BytesIO()
        Image.fromarray(picture.mul(255).round().byte().permute(1, 2, 0).numpy()).save(held, "JPEG", quality=75)
        theirs = torch.tensor(np.asarray(Image.open(held))).permute(2, 0, 1) / 255
        assert (ours - theirs).abs().mean() < min(1 / 255, (theirs - picture).abs().mean() / 4)


def test_other_ranges_are_scaled_to_and_from() -> None:
    wide = Victim(nn.Flatten(), low=-2, high=6)
    plain, scaled = BitDepth(LOOK, 3).purify(PIXELS), BitDepth(wide, 3).purify(8 * PIXELS - 2)
    torch.testing.assert_close(scaled, 8 * plain - 2)
    surface = BitDepth(wide, 3).exposed()
    torch.testing.assert_close(surface(8 * PIXELS - 2), scaled.flatten(1))
    with pytest.raises(ConfigError, match="two ends"):
        BitDepth(Victim(nn.Flatten(), high=float("inf")))


def test_noise_hangs_on_content_and_seed_and_an_attacker_averages_over_draws_of_his_own() -> None:
    guard, other = NoisyInput(LOOK, 0.1, samples=200), NoisyInput(LOOK, 0.1, samples=200, seed=1)
    x = 0.4 + 0.2 * PIXELS
    assert not torch.equal(guard.purify(x), other.purify(x))
    assert guard.purify(x).sub(x).std() == pytest.approx(0.1, rel=0.05)
    given = Draws(3, torch.arange(4))
    torch.testing.assert_close(
        guard.purify(x, given), (x + 0.1 * Draws(3, torch.arange(4)).normal(3, 32, 32)).clamp(0, 1)
    )
    mean = guard.exposed()(x)
    assert isinstance(mean, Tensor)
    assert mean.sub(x.flatten(1)).std() == pytest.approx(0.1 / 200**0.5, rel=0.1)


def test_content_draws_are_one_stream_a_sample() -> None:
    x = PIXELS.clone()
    whole = content_draws(0, x).bits(3)
    assert torch.equal(content_draws(0, x[2:3]).bits(3), whole[2:3])
    x[2, 0, 0, 0] += 1e-6
    assert (content_draws(0, x).bits(3) == whole).all(1).tolist() == [True, True, False, True]
    assert torch.equal(content_draws(0, torch.zeros(1, 3)).bits(2), content_draws(0, -torch.zeros(1, 3)).bits(2))


class Wide(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 3 * x


@pytest.mark.parametrize(
    ("filter", "message"), [(Wide(), "AvgPool2d|in \\[0, 1\\]: Wide gives values"), (nn.AvgPool2d(2), "keeps its")]
)
def test_a_filter_that_leaves_shape_or_range_is_refused(filter: nn.Module, message: str) -> None:
    guard = Purifier(LOOK, filter)
    for ask in (guard.purify, guard, guard.exposed()):
        with pytest.raises(DataError, match=message):
            ask(PIXELS)


def test_bad_settings_are_refused() -> None:
    for make, message in (
        (lambda: BitDepth(LOOK, 0), "bits"),
        (lambda: MedianSmoothing(LOOK, 0), "window"),
        (lambda: JPEG(LOOK, 101), "quality"),
        (lambda: NoisyInput(LOOK, 0.0), "std"),
        (lambda: NoisyInput(LOOK, samples=0), "samples"),
        (lambda: Purifier(LOOK, nn.Identity(), samples=5), "Identity, which draws nothing"),
        (lambda: Purifier(LOOK, nn.Identity(), gradient="bpda"), "'bpda' is unknown"),  # type: ignore[arg-type]
        (lambda: named_purifier("jpg", LOOK), "did you mean 'jpeg'"),
    ):
        with pytest.raises(ConfigError, match=message):
            make()
    with pytest.raises(DataError, match="1 or 3 channels"):
        JPEG(LOOK).purify(PIXELS[:, :2])
    for guard in (JPEG(LOOK), MedianSmoothing(LOOK)):
        with pytest.raises(DataError, match=r"pictures \(N, C, H, W\)"):
            guard.purify(PIXELS.flatten(1))
    with pytest.raises(DataError, match="window of 9 does not fit"):
        MedianSmoothing(LOOK, 9).purify(PIXELS[:, :, :4, :4])
