"""Color operations: pixels and laws against torchvision's."""

from collections import Counter
from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, ks_2samp
from torchvision.transforms import ColorJitter as TorchvisionJitter
from torchvision.transforms import functional as F

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import Draws, isolated
from withstand.views.pictures.colors import color
from withstand.views.pictures.colors.color_views import ColorJitter, Greyscale, Solarize

ONE_STEP = 1 / 255 + 1e-6


def pictures(count: int, channels: int = 3, side: int = 16, seed: int = 0) -> torch.Tensor:
    """Smooth and noisy pictures, with exact black, white, greys, pure hues and ties among them."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(count, channels, side, side, generator=generator)
    corners = torch.tensor([[r, g, b] for r in (0, 0.5, 1) for g in (0, 0.5, 1) for b in (0, 0.5, 1)]).T
    x.flatten(2)[:, :, : corners.shape[1]] = corners[:channels]
    return x


OPERATIONS = {
    "brightness": (color.adjust_brightness, F.adjust_brightness, (0.0, 0.2, 1.0, 1.3, 1.8)),
    "contrast": (color.adjust_contrast, F.adjust_contrast, (0.0, 0.2, 1.0, 1.3, 1.8)),
    "saturation": (color.adjust_saturation, F.adjust_saturation, (0.0, 0.2, 1.0, 1.3, 1.8)),
    "hue": (color.adjust_hue, F.adjust_hue, (-0.5, -0.2, -0.01, 0.0, 0.1, 1 / 3, 0.5)),
    "solarize": (color.solarize, F.solarize, (0.0, 128 / 255, 0.9, 1.0)),
}


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_torchvisions(name, channels):
    ours, theirs, amounts = OPERATIONS[name]
    x = pictures(len(amounts), channels)
    kept = x.clone()
    result = ours(x, torch.tensor(amounts))
    assert torch.equal(x, kept)
    for picture, amount, changed in zip(x, amounts, result, strict=True):
        wanted = theirs(picture, amount)
        assert (changed - wanted).abs().max() < 1e-5, amount


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
def test_pixels_of_bytes_are_torchvisions_but_for_its_cutting_off(name):
    ours, theirs, amounts = OPERATIONS[name]
    x = (pictures(len(amounts)) * 255).round().to(torch.uint8)
    result = ours(x / 255, torch.tensor(amounts))
    for picture, amount, changed in zip(x, amounts, result, strict=True):
        # torchvision cuts the result off to a byte, and before that the grey that (1 - amount) of comes in.
        steps = 1 + (abs(1 - amount) if name in ("contrast", "saturation") else 0)
        assert (changed - theirs(picture, amount) / 255).abs().max() <= steps * ONE_STEP


def test_greyscale_is_torchvisions():
    x = pictures(4)
    assert (color.greyscale(x) - F.rgb_to_grayscale(x, 3)).abs().max() < 1e-6
    single = pictures(4, channels=1)
    assert torch.equal(color.greyscale(single), single)


@pytest.mark.parametrize("channels", [1, 3])
def test_jitter_is_the_chain_of_torchvisions_functions_in_each_samples_order(channels):
    orders = torch.tensor(list(permutations(range(4))))
    x = pictures(len(orders), channels, seed=1)
    generator = torch.Generator().manual_seed(2)
    factors = torch.rand(len(orders), 4, generator=generator) * 1.6 + 0.2
    factors[:, 3] = torch.rand(len(orders), generator=generator) - 0.5
    functions = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)
    kept = x.clone()
    ours = color.color_jitter(x, factors, orders)
    assert torch.equal(x, kept)
    for picture, amounts, order, changed in zip(x, factors.tolist(), orders.tolist(), ours, strict=True):
        for operation in order:
            picture = functions[operation](picture, amounts[operation])
        # A hue next to a grey turns freely with round-off, but its chroma is then nothing.
        assert (changed - picture).abs().max() < 1e-4


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.floats(-0.5, 0.5), st.integers(1, 5))
def test_hue_keeps_value_and_chroma_and_turns_back(seed, shift, count):
    x = torch.rand(count, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    turned = color.adjust_hue(x, torch.full((count,), shift))
    assert torch.allclose(turned.amax(1), x.amax(1), atol=1e-5)
    assert torch.allclose(turned.amin(1), x.amin(1), atol=1e-5)
    back = color.adjust_hue(turned, torch.full((count,), -shift))
    assert torch.allclose(back, x, atol=1e-4)


def test_jitter_draws_torchvisions_factors_and_every_order_alike():
    count = 6000
    view = ColorJitter(0.8, 1.5, 0.4, 0.2, probability=0.7)
    chosen, factors, order = view.parameters(Draws(0, torch.arange(count)))
    theirs = TorchvisionJitter(0.8, 1.5, 0.4, 0.2)
    with isolated("jitter"):
        drawn = [
            theirs.get_params(theirs.brightness, theirs.contrast, theirs.saturation, theirs.hue)[1:]
            for _ in range(count)
        ]
    for place, name in enumerate(("brightness", "contrast", "saturation", "hue")):
        assert ks_2samp(factors[:, place].numpy(), [row[place] for row in drawn]).pvalue > 1e-3, name
    counts = Counter(map(tuple, order.tolist()))
    assert set(counts) == set(permutations(range(4)))
    assert chisquare(list(counts.values())).pvalue > 1e-3
    assert abs(chosen.float().mean().item() - 0.7) < 0.02
    numbers = torch.cat((chosen[:, None].float(), factors, order[:, :3].float()), dim=1)
    correlation = torch.corrcoef(numbers.T)
    # The places of an order hang together by their nature (-1/3); nothing else may.
    assert (correlation - torch.eye(8))[:5].abs().max() < 0.06


@pytest.mark.parametrize(("view", "chance"), [(Greyscale(0.2), 0.2), (Solarize(probability=0.3), 0.3)])
def test_pictures_are_changed_with_the_probability(view, chance):
    count = 5000
    x = pictures(1, side=6).expand(count, -1, -1, -1)
    changed = view(Batch(x, torch.arange(count)), Draws(0, torch.arange(count))).x
    share = (changed != x).flatten(1).any(1).float().mean().item()
    assert abs(share - chance) < 0.02


def test_jitter_leaves_the_unchosen_alone():
    count = 400
    x = pictures(count, side=6)
    view, draws = ColorJitter(probability=0.6), Draws(3, torch.arange(count))
    chosen, factors, order = view.parameters(Draws(3, torch.arange(count)))
    changed = view(Batch(x, torch.arange(count)), draws).x
    assert torch.equal(changed[~chosen], x[~chosen])
    assert torch.allclose(changed[chosen], color.color_jitter(x[chosen], factors[chosen], order[chosen]), atol=1e-6)


def test_one_channel_feels_brightness_and_contrast_only():
    x = pictures(3, channels=1)
    factors = torch.tensor([[1.0, 1.0, 0.3, 0.4]]).expand(3, -1)
    assert torch.allclose(color.color_jitter(x, factors, torch.tensor([[2, 3, 0, 1]]).expand(3, -1)), x)
    factors = torch.tensor([[0.5, 1.0, 0.3, 0.4]]).expand(3, -1)
    assert torch.allclose(color.color_jitter(x, factors, torch.tensor([[2, 3, 0, 1]]).expand(3, -1)), x / 2)


def test_other_numbers_of_channels_are_refused():
    with pytest.raises(DataError, match="1 or 3 channels, not 4"):
        color.greyscale(torch.rand(2, 4, 5, 5))


@pytest.mark.parametrize("wrong", [{"hue": 0.6}, {"brightness": -1}, {"probability": 2.0}])
def test_wrong_jitter_is_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        ColorJitter(**wrong)
