import io
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from victims import digits
from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.findings.finding import Finding
from withstand.core.random import Draws
from withstand.core.victims.victim import Victim
from withstand.data.arrays.source import ArraySource
from withstand.evaluation.robustness.corruptions import CorruptionBench
from withstand.views.pictures.common_corruptions import corruption_filters as filters
from withstand.views.pictures.common_corruptions.corruptions import CORRUPTIONS, Corruption, jpeg, poisson

RANDOM = {k for k in CORRUPTIONS if k.endswith("noise")} | {
    "glass_blur",
    "motion_blur",
    "snow",
    "frost",
    "fog",
    "elastic_transform",
}


def pictures(count: int = 6, channels: int = 3, side: int = 32, width: int | None = None) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    rough = torch.rand(count, channels, 6, 6, generator=generator)
    smooth = F.interpolate(rough, size=(side, width or side), mode="bicubic").clamp(0, 1)
    return (smooth * 255).round() / 255


def corrupt(kind: str, severity: int, x: Tensor, seed: int = 0) -> Tensor:
    return Corruption(kind, severity)(Batch(x, torch.arange(len(x))), Draws(seed, torch.arange(len(x)))).x


@pytest.mark.parametrize("kind", CORRUPTIONS)
@pytest.mark.parametrize(("channels", "side", "width"), [(3, 32, None), (1, 28, None), (3, 20, 33)])
def test_pictures_stay_pictures_and_change(kind: str, channels: int, side: int, width: int | None) -> None:
    x = pictures(3, channels, side, width)
    for severity in range(1, 6):
        out = corrupt(kind, severity, x)
        assert out.shape == x.shape
        assert out.min() >= 0
        assert out.max() <= 1
        torch.testing.assert_close(out * 255, (out * 255).round(), rtol=0, atol=1e-3)
        assert not torch.equal(out, x)


@pytest.mark.parametrize("kind", sorted(set(CORRUPTIONS) - {"frost", "glass_blur", "elastic_transform"}))
def test_harm_grows_with_severity(kind: str) -> None:
    x = pictures()
    harm = [(corrupt(kind, severity, x) - x).square().mean() for severity in (1, 3, 5)]
    assert harm[0] < harm[1] < harm[2]


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_draws_are_each_samples_own(kind: str) -> None:
    x = pictures(1).expand(4, -1, -1, -1).clone()
    out = corrupt(kind, 3, x)
    assert torch.equal(out, corrupt(kind, 3, x))
    differ = bool((out[1:] != out[:1]).flatten(1).any(1).all())
    assert differ == (kind in RANDOM)
    some = Corruption(kind, 3)(Batch(x[2:], torch.arange(2, 4)), Draws(0, torch.arange(2, 4))).x
    assert ((some - out[2:]).abs() > 1e-6).float().mean() < 1e-3  # a level, where a sum rounds otherwise


def test_noise_has_the_published_size() -> None:
    x = torch.full((50, 3, 32, 32), 0.5)
    noise = corrupt("gaussian_noise", 5, x) - 0.5
    assert abs(float(noise.std()) - 0.10) < 2e-3
    hit = corrupt("impulse_noise", 5, x) != corrupt("contrast", 1, x)
    assert abs(float(hit.float().mean()) - 0.07) < 3e-3
    shot = corrupt("shot_noise", 5, x)
    assert abs(float(shot.var()) - 0.5 / 50) < 5e-4


@pytest.mark.parametrize("rate", [0.0, 0.3, 4.0, 11.9, 12.1, 60.0, 400.0])
def test_poisson(rate: float) -> None:
    count = poisson(torch.full((200_000,), rate), torch.rand(200_000, generator=torch.Generator().manual_seed(1)))
    assert torch.equal(count, count.round())
    assert abs(float(count.mean()) - rate) <= 0.02 * rate**0.5
    assert abs(float(count.var()) - rate) <= 0.02 * rate
    third = ((count - rate) ** 3).mean()
    assert abs(float(third) - rate) <= 0.15 * rate**1.5


def test_brightness_keeps_hue_and_saturation() -> None:
    x = pictures().clamp(0.05, 0.6)
    out = corrupt("brightness", 2, x)
    torch.testing.assert_close(out.amax(1), x.amax(1) + 0.1, rtol=0, atol=1.1 / 255)
    torch.testing.assert_close(out / out.amax(1, keepdim=True), x / x.amax(1, keepdim=True), rtol=0, atol=0.06)


def test_contrast_is_about_each_channels_mean() -> None:
    x = pictures()
    mean = x.mean((2, 3), keepdim=True)
    torch.testing.assert_close(corrupt("contrast", 2, x), mean + 0.5 * (x - mean), rtol=0, atol=1.1 / 255)


@pytest.mark.parametrize("share", [0.95, 0.75, 0.65])
def test_pixelate_is_pillows_box_filter(share: float) -> None:
    x = pictures()
    severity = 1 + (0.95, 0.9, 0.85, 0.75, 0.65).index(share)
    for ours, clean in zip(corrupt("pixelate", severity, x), x, strict=True):
        small = picture(clean).resize((int(32 * share),) * 2, Image.BOX).resize((32, 32), Image.BOX)
        torch.testing.assert_close(ours, tensor(small), rtol=0, atol=1.1 / 255)


@pytest.mark.parametrize("quality", [80, 58, 40])
@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_pillows(quality: int, channels: int) -> None:
    x = pictures(6, channels, *((32, 48) if channels == 3 else (30, 41)))
    for ours, clean in zip(jpeg(x, quality), x, strict=True):
        file = io.BytesIO()
        picture(clean).save(file, "JPEG", quality=quality)
        apart = (ours - tensor(Image.open(file))).abs() * 255
        # Where a coefficient lies halfway between two steps, rounding decides and a whole block differs.
        assert apart.mean() < 2.5
        assert (apart <= 3).float().mean() > 0.8


def test_defocus_kernel_is_symmetric_and_keeps_flat_pictures() -> None:
    for radius, soft in ((0.3, 0.4), (1.5, 0.1)):
        flat = torch.full((1, 3, 9, 9), 0.4)
        torch.testing.assert_close(filters.disk_blur(flat, radius, soft), flat)
        spike = torch.zeros(1, 1, 9, 9)
        spike[..., 4, 4] = 1
        out = filters.disk_blur(spike, radius, soft)
        torch.testing.assert_close(out, out.mT)
        torch.testing.assert_close(out, out.flip(2, 3))
    assert (out > 0.1).sum() == 9  # a disk of radius 1.5 on the grid


def test_motion_blur_is_one_sided_along_its_direction() -> None:
    spike = torch.zeros(2, 1, 31, 31)
    spike[..., 15, 15] = 1
    out = filters.motion_blur(spike, 6, 2.0, torch.tensor([0.0, -90.0]))
    torch.testing.assert_close(out.sum((1, 2, 3)), torch.ones(2))
    assert set(out[0, 0].nonzero()[:, 0].tolist()) == {15}
    assert max(out[0, 0].nonzero()[:, 1].tolist()) == 15
    assert set(out[1, 0].nonzero()[:, 1].tolist()) == {15}
    torch.testing.assert_close(out[0, 0, 15, 13] / out[0, 0, 15, 15], torch.tensor(-0.5).exp())


def test_gaussian_matrix_is_scipys() -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    line = np.random.default_rng(0).random(20)
    for sigma, truncate, mirrored in ((0.4, 4.0, False), (2.0, 3.0, True), (6.4, 3.0, True)):
        ours = filters.gaussian_matrix(20, sigma, truncate, mirrored=mirrored) @ torch.tensor(line, dtype=torch.float32)
        mode = "reflect" if mirrored else "nearest"
        theirs = ndimage.gaussian_filter1d(line, sigma, truncate=truncate, mode=mode)
        np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-6)


def test_zoom_is_scipys() -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    x = pictures(1)
    for factor in (1.05, 1.2):
        cut = int(np.ceil(32 / factor))
        top = (32 - cut) // 2
        large = ndimage.zoom(x[0, :, top : top + cut, top : top + cut].numpy(), (1, factor, factor), order=1)
        trim = (large.shape[1] - 32) // 2
        theirs = large[:, trim : trim + 32, trim : trim + 32]
        np.testing.assert_allclose(filters.zoom(x, factor)[0].numpy(), theirs, atol=1e-5)


def test_sampling_at_whole_places_moves_pixels() -> None:
    x = pictures(2, 1, 5, 7)
    row, column = torch.meshgrid(torch.arange(5.0), torch.arange(7.0), indexing="ij")
    row, column = row.expand(2, -1, -1), column.expand(2, -1, -1)
    torch.testing.assert_close(filters.sample(x, row, column, mirrored=True), x)
    torch.testing.assert_close(filters.sample(x, row - 1, column, mirrored=True)[:, :, 0], x[:, :, 0])
    torch.testing.assert_close(filters.sample(x, row - 1, column, mirrored=False)[:, :, 0], x[:, :, 1])


def test_plasma_is_rough_or_smooth_as_asked() -> None:
    draws = Draws(0, torch.arange(20))
    rough, smooth = (filters.plasma(20, 33, decay, draws.child(int(decay))) for decay in (1.75, 3.0))
    assert rough.shape == (20, 1, 20, 33)
    assert rough.min() >= 0
    assert rough.max() <= 1
    steps = [field.diff(dim=3).abs().mean() for field in (rough, smooth)]
    assert steps[0] > 1.5 * steps[1]


def picture(x: Tensor) -> Image.Image:
    levels = (x * 255).round().to(torch.uint8)
    return Image.fromarray((levels[0] if len(levels) == 1 else levels.permute(1, 2, 0)).numpy())


def tensor(image: Image.Image) -> Tensor:
    array = np.array(image)
    return torch.tensor(array[None] if array.ndim == 2 else array.transpose(2, 0, 1)) / 255


def digits_source() -> ArraySource:
    _, x, y = digits()
    return ArraySource((x.numpy() * 255).astype(np.uint8), y.numpy())


def test_bench_counts_what_is_left() -> None:
    victim = digits()[0]
    bench = CorruptionBench(samples=60, severities=(1, 5))
    finding = bench.evaluate(victim, digits_source())
    table = finding.tables["accuracy by corruption"]
    assert table.column("corruption") == tuple(CORRUPTIONS)
    means = [float(value) for value in table.column("mean")]
    assert finding.numbers["mean accuracy under corruptions"] == pytest.approx(sum(means) / 15)
    assert finding.numbers["clean accuracy"] > finding.numbers["mean accuracy under corruptions"]
    assert min(means) in finding.numbers.values()
    assert finding.tables["accuracy over severity"].column("severity") == (1, 5)
    assert "texture" in str(finding.protocol["frost"])
    assert bench.evaluate(victim, digits_source()) == finding
    assert CorruptionBench(samples=60, severities=(1, 5), batch=7).evaluate(victim, digits_source()).numbers == (
        pytest.approx(finding.numbers, abs=0.02)
    )


def test_bench_speaks_the_victims_range_and_leaves_it_alone() -> None:
    net = digits()[0].model
    assert isinstance(net, nn.Module)
    bench = CorruptionBench(("contrast",), (3,), samples=40)
    plain = bench.evaluate(net, digits_source())
    shifted = Victim(lambda x: net((x + 1) / 2), low=-1.0, high=1.0)
    assert bench.evaluate(shifted, digits_source()).numbers == plain.numbers
    net.train()
    bench.evaluate(net, digits_source())
    assert net.training
    net.eval()


def test_another_test_set_and_a_control() -> None:
    source = digits_source()
    empty = ArraySource(np.zeros((2, 1, 8, 8), np.uint8), np.zeros(2, np.int64))
    bench = CorruptionBench(("fog",), (1,), samples=30)
    finding = bench.evaluate(digits()[0], empty, test=source, control=lambda x: x.flatten(1)[:, :10])
    plain = bench.evaluate(digits()[0], source)
    assert finding.numbers == plain.numbers
    compared = finding.figures["mean accuracy under corruptions"]
    assert compared.control is not None
    assert compared.control.value < compared.value


def test_finding_is_kept(tmp_path: Path) -> None:
    finding = CorruptionBench(("fog",), (1,), samples=5).evaluate(digits()[0], digits_source())
    assert Finding.load(finding.save(tmp_path)) == finding


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kinds": ("gausian_noise",)}, "did you mean 'gaussian_noise'"),
        ({"severities": (0,)}, "severities from 1 to 5"),
        ({"kinds": ()}, "give corruptions"),
        ({"samples": 0}, "samples must be at least 1"),
    ],
)
def test_useless_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CorruptionBench(**settings)


def test_a_corruption_by_a_wrong_name() -> None:
    with pytest.raises(ConfigError, match="did you mean 'snow'"):
        Corruption("sno")
    with pytest.raises(ConfigError, match="from 1 to 5"):
        Corruption("snow", 6)
    with pytest.raises(DataError, match="1 or 3 channels"):
        corrupt("snow", 1, torch.rand(2, 4, 8, 8))


def test_bench_needs_labels() -> None:
    with pytest.raises(DataError, match="no labels"):
        CorruptionBench().evaluate(digits()[0], ArraySource(np.zeros((3, 1, 8, 8), np.uint8)))
