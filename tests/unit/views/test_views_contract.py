"""What every picture view and preset keeps: range, shape, type, reproducibility, independence of the batch."""

import copy
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.part import build, describe
from withstand.core.random import Draws
from withstand.views import presets
from withstand.views.compose import Compose, MultiCrop, TwoViews
from withstand.views.pictures.blur import GaussianBlur
from withstand.views.pictures.colors.color_views import ColorJitter, Greyscale, Solarize
from withstand.views.pictures.crop import HorizontalFlip, RandomResizedCrop
from withstand.views.pictures.geometry import Cutout, Rotation
from withstand.views.pictures.values import Normalize, RandomGaussianNoise

VIEWS = (
    RandomResizedCrop(20, flip=0.5),
    RandomResizedCrop((14, 30), interpolation="bicubic"),
    HorizontalFlip(),
    ColorJitter(),
    Greyscale(0.5),
    Solarize(probability=0.5),
    GaussianBlur(kernel_size=5),
    Rotation(probability=0.7),
    RandomGaussianNoise(),
    Cutout(6),
    Compose(()),
    Compose((HorizontalFlip(), ColorJitter(), Compose((Greyscale(), RandomGaussianNoise(probability=0.5))))),
)
SETS = (
    presets.simclr_small(24),
    presets.simclr_small(24, strength=0.5, blur=0.5),
    presets.barlow_small(24),
    presets.simclr_large(24),
    presets.barlow_large(24),
    presets.vicreg_small(24),
    presets.multicrop_small(24, local_crops=0, smallest_crop=0.08),
    presets.multicrop_small(24, local_crops=2),
    presets.multicrop_small(24, local_crops=1, solarize=True),
    presets.swav_large(28, local_crops=2),
    presets.dino_large(28, local_crops=2),
    MultiCrop((RandomResizedCrop(24), RandomResizedCrop(12, scale=(0.05, 0.3))), (2, 3)),
)


def batch_of(count: int, channels: int = 3, height: int = 24, width: int = 24, *, floats: bool = False) -> Batch:
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (count, channels, height, width), dtype=torch.uint8, generator=generator)
    return Batch(x / 255 if floats else x, torch.arange(100, 100 + count))


def draws_of(batch: Batch, seed: int = 0, epoch: int = 0) -> Draws:
    return Draws(seed, batch.index, epoch=epoch)


def outputs(view, batch: Batch, draws: Draws) -> tuple[torch.Tensor, ...]:
    result = view(batch, draws)
    return result.views or (result.x,)


def name(view) -> str:
    return type(view).__name__


@pytest.mark.parametrize("view", [*VIEWS, *SETS], ids=name)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("floats", [False, True])
def test_views_give_unit_floats_and_leave_the_batch(view, channels, floats):
    batch = batch_of(9, channels, 26, 23, floats=floats)
    kept = batch.x.clone()
    for out in outputs(view, batch, draws_of(batch)):
        assert out.dtype == torch.float32
        assert out.shape[:2] == (9, channels)
        assert out.min() >= 0
        assert out.max() <= 1
        assert out.data_ptr() != batch.x.data_ptr()
    assert torch.equal(batch.x, kept)


@pytest.mark.parametrize("view", [*VIEWS, *SETS], ids=name)
def test_views_hang_on_seed_epoch_and_index_only(view):
    batch = batch_of(40)
    first = outputs(view, batch, draws_of(batch))
    torch.manual_seed(5)
    state = torch.get_rng_state()
    again = outputs(view, batch, draws_of(batch))
    assert torch.equal(state, torch.get_rng_state())
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one, other)
    if view != Compose(()):
        for draws in (draws_of(batch, epoch=1), draws_of(batch, seed=1)):
            assert not torch.equal(first[0], outputs(view, batch, draws)[0])


@pytest.mark.parametrize("view", [*VIEWS, *SETS], ids=name)
def test_a_samples_view_does_not_depend_on_its_batch(view):
    batch = batch_of(40)
    whole = outputs(view, batch, draws_of(batch))
    rows = torch.tensor((31, 4, 17, 39, 0, 5, 8))
    for some in (rows, rows[:1], rows[:3]):
        part = Batch(batch.x[some], batch.index[some])
        for all_rows, few in zip(whole, outputs(view, part, draws_of(part)), strict=True):
            assert torch.allclose(all_rows[some], few, atol=1e-5)


@pytest.mark.parametrize("views", [presets.simclr_small(32, blur=0.5), presets.barlow_small(32)], ids=name)
def test_batches_of_several_cache_blocks_are_as_small_ones(views):
    batch = batch_of(150, 3, 32, 32)
    whole = views(batch, draws_of(batch)).views
    some = torch.arange(3, 150, 7)
    part = Batch(batch.x[some], batch.index[some])
    for all_rows, few in zip(whole, views(part, draws_of(part)).views, strict=True):
        assert torch.allclose(all_rows[some], few, atol=1e-5)


def test_at_full_size_a_samples_view_does_not_depend_on_its_batch():
    batch = batch_of(4, 3, 200, 180)
    views = presets.barlow_large(160)
    whole = views(batch, draws_of(batch)).views
    for row in range(4):
        one = Batch(batch.x[row : row + 1], batch.index[row : row + 1])
        for all_rows, alone in zip(whole, views(one, draws_of(one)).views, strict=True):
            assert torch.allclose(all_rows[row : row + 1], alone, atol=1e-5)


@pytest.mark.parametrize("view", [*VIEWS, *SETS, Normalize((0.5,), (0.2,))], ids=name)
def test_views_round_trip_through_json(view):
    again = build(json.loads(json.dumps(describe(view))))
    assert again == view
    assert describe(again) == describe(view)
    assert copy.deepcopy(view) == view
    batch = batch_of(5)
    for one, other in zip(outputs(view, batch, draws_of(batch)), outputs(again, batch, draws_of(batch)), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("view", [*VIEWS, *SETS], ids=name)
def test_an_empty_batch_stays_empty(view):
    batch = batch_of(0)
    assert all(len(out) == 0 for out in outputs(view, batch, draws_of(batch)))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.sampled_from((1, 3)), st.integers(12, 40), st.integers(12, 40), st.integers(0, 2**40))
def test_presets_take_pictures_of_any_shape(count, channels, height, width, seed):
    batch = batch_of(count, channels, height, width)
    for views in (presets.simclr_small(16, blur=0.5), presets.barlow_large(32)):
        for out in outputs(views, batch, draws_of(batch, seed=seed)):
            assert out.shape[:2] == (count, channels)
            assert torch.isfinite(out).all()
            assert out.min() >= 0
            assert out.max() <= 1


def test_two_views_differ_and_the_second_may_be_of_another_kind():
    batch = batch_of(30)
    same = presets.simclr_small(24)(batch, draws_of(batch)).views
    assert not torch.equal(*same)
    still = Compose(())
    first, second = TwoViews(still, Solarize(0.0, probability=1.0))(batch, draws_of(batch)).views
    assert torch.allclose(first, 1 - second)
    assert torch.equal(TwoViews(still)(batch, draws_of(batch)).x, batch.x)


def test_each_view_draws_from_its_own_child():
    batch = batch_of(12)
    crop = RandomResizedCrop(16)
    views = MultiCrop((crop, RandomResizedCrop(8)), (2, 2))(batch, draws_of(batch)).views
    assert [out.shape[-1] for out in views] == [16, 16, 8, 8]
    assert torch.equal(views[1], crop(batch, draws_of(batch).child(1)).x)
    assert not torch.equal(views[0], views[1])


def test_barlows_presets_are_asymmetric():
    count = 1500
    batch = Batch(torch.full((count, 1, 16, 16), 30, dtype=torch.uint8), torch.arange(count))
    first, second = presets.barlow_small(8)(batch, draws_of(batch)).views
    # A dark picture stays dark under jitter of 0.4; solarizing from 0.5 leaves it dark too, so brighten it.
    assert (first.amax((1, 2, 3)) < 0.2).all()
    assert (second.amax((1, 2, 3)) < 0.2).all()
    bright = Batch(torch.full((count, 1, 16, 16), 250, dtype=torch.uint8), torch.arange(count))
    first, second = presets.barlow_small(8)(bright, draws_of(bright)).views
    assert (first.mean((1, 2, 3)) > 0.5).all()
    assert abs((second.mean((1, 2, 3)) < 0.5).float().mean().item() - 0.2) < 0.04


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(4, 8, 8), r"\(N, C, H, W\)"),
        (torch.zeros(4, 1, 8, 8, dtype=torch.int64), "int64"),
        (torch.full((4, 1, 8, 8), 200.0), r"divide by 255"),
        (torch.full((4, 1, 8, 8), float("nan")), "nan"),
        (torch.zeros(4, 1, 0, 8), r"\(N, C, H, W\)"),
    ],
)
@pytest.mark.parametrize("view", [presets.simclr_small(), RandomGaussianNoise()], ids=name)
def test_what_is_no_picture_is_refused(view, x, message):
    with pytest.raises(DataError, match=message):
        view(Batch(x, torch.arange(len(x))), Draws(0, torch.arange(len(x))))


def test_chains_and_counts_are_checked():
    with pytest.raises(ConfigError, match="not TwoViews"):
        Compose((presets.simclr_small(),))
    with pytest.raises(ConfigError, match="2 kinds"):
        MultiCrop((HorizontalFlip(), Greyscale()), (2,))


@pytest.mark.parametrize("view", [*VIEWS, presets.simclr_small(24, blur=0.5)], ids=name)
@pytest.mark.parametrize("channels", [1, 3])
def test_views_can_be_differentiated(view, channels):
    batch = batch_of(6, channels, floats=True)
    plain = outputs(view, batch, draws_of(batch))
    x = batch.x.clone().requires_grad_(True)
    found = outputs(view, Batch(x, batch.index), draws_of(batch))
    for ours, theirs in zip(found, plain, strict=True):
        torch.testing.assert_close(ours.detach(), theirs, rtol=0, atol=2e-6)
    generator = torch.Generator().manual_seed(1)
    ways = [torch.randn(out.shape, generator=generator) for out in found]
    slope = torch.autograd.grad(sum((out * way).sum() for out, way in zip(found, ways, strict=True)), x)[0]
    assert torch.isfinite(slope).all()
    assert slope.flatten(1).any(1).all()
