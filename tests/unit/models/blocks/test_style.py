"""Style layers against the formulas of the official code, and gradient reversal."""

import copy
import math
import pickle
from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import Draws
from withstand.models.blocks.normalization.style import (
    DSU,
    AdvStyle,
    MixStyle,
    StyleLayer,
    perturbed,
    restyled,
    spread,
    style,
)
from withstand.models.blocks.reversal import reversed_gradient

C = 3


def maps(count: int = 4, height: int = 5, width: int = 6, seed: int = 0) -> Tensor:
    return 2 * torch.randn(
        count, C, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    ) + torch.arange(1.0, C + 1, dtype=torch.float64).view(-1, 1, 1)


def batch(count: int = 4, step: int = 0) -> Batch:
    return Batch(torch.zeros(count), torch.arange(count), step=step)


def always(layer: StyleLayer) -> StyleLayer:
    return layer.double().train()


LAYERS: dict[str, Callable[[], StyleLayer]] = {
    "learnt": lambda: always(AdvStyle(C, adversarial=1.0, batch=0.0)),
    "of the batch": lambda: always(AdvStyle(C, adversarial=0.0, batch=1.0)),
    "DSU": lambda: always(DSU(C, probability=1.0)),
    "MixStyle": lambda: always(MixStyle(C, probability=1.0)),
}


def noise(count: int = 4, step: int = 0) -> tuple[Tensor, Tensor]:
    """The normal numbers that the first layer of a network draws for a batch, `(B, C, 1, 1)` each."""
    drawn = batch(count, step).draws("style").child(0).normal(2, C, 1, 1).double()
    return drawn[:, 0], drawn[:, 1]


def ran(layer: StyleLayer, x: Tensor, step: int = 0) -> Tensor:
    with perturbed(layer, batch(len(x), step)):
        found: Tensor = layer(x)
    return found


def official(x: Tensor, mean_sizes: Tensor, deviation_sizes: Tensor) -> Tensor:
    """The official layer, written out: normalise, then give new statistics."""
    mean = x.mean((2, 3), keepdim=True)
    deviation = (x.var((2, 3), keepdim=True) + 1e-6).sqrt()
    on_mean, on_deviation = noise(len(x))
    new_mean, new_deviation = mean + on_mean * mean_sizes, deviation + on_deviation * deviation_sizes
    return (x - mean) / deviation * new_deviation + new_mean


def batch_sizes(x: Tensor) -> tuple[Tensor, Tensor]:
    mean, deviation = x.mean((2, 3), keepdim=True), (x.var((2, 3), keepdim=True) + 1e-6).sqrt()
    return tuple((some.var(0, keepdim=True) + 1e-6).sqrt() for some in (mean, deviation))  # type: ignore[return-value]


@pytest.mark.parametrize("name", LAYERS)
def test_in_eval_mode_maps_come_back_themselves(name: str) -> None:
    x = maps()
    assert LAYERS[name]().eval()(x) is x


@pytest.mark.parametrize("name", LAYERS)
def test_in_training_a_layer_without_draws_says_what_to_do(name: str) -> None:
    layer, x = LAYERS[name](), maps()
    with pytest.raises(ConfigError, match=r"inside `with perturbed\(network, batch\):`"):
        layer(x)
    ran(layer, x)
    with pytest.raises(ConfigError):
        layer(x)


@pytest.mark.parametrize("name", ["of the batch", "DSU", "learnt"])
def test_noise_of_the_batch_s_sizes_is_the_official_one_in_value_and_gradient(name: str) -> None:
    """Learnt sizes are the batch's when they are first used, but detached."""
    x, y = maps().requires_grad_(), maps().requires_grad_()
    found, expected = (
        ran(LAYERS[name](), x),
        official(y, *(s.detach() if name == "learnt" else s for s in batch_sizes(y))),
    )
    torch.testing.assert_close(found, expected)
    found.pow(3).sum().backward()
    expected.pow(3).sum().backward()
    torch.testing.assert_close(x.grad, y.grad)


def test_sizes_of_0_change_nothing() -> None:
    layer, x = LAYERS["learnt"](), maps()
    ran(layer, x)
    for size in layer.sizes():  # type: ignore[operator]
        nn.init.zeros_(size)
    torch.testing.assert_close(ran(layer, x), x, rtol=1e-12, atol=1e-12)


def test_maps_have_the_statistics_that_they_were_given() -> None:
    x = maps()
    mean, deviation = style(x)
    new = restyled(x, mean, deviation, mean + 1, -2 * deviation)
    torch.testing.assert_close(new.mean((2, 3), keepdim=True), mean + 1)
    torch.testing.assert_close(new.var((2, 3), keepdim=True).sqrt(), 2 * x.var((2, 3), keepdim=True).sqrt())


@pytest.mark.parametrize("weight", [0.0, 0.5, 10.0])
def test_learnt_sizes_get_the_gradient_turned_round_and_weighed_and_maps_get_the_true_one(weight: float) -> None:
    found = {}
    for w in (-1.0, weight):  # -1 turns round twice: the gradient without reversal
        layer, x = LAYERS["learnt"](), maps().requires_grad_()
        layer.weight = w
        ran(layer, x).pow(3).sum().backward()
        found[w] = (x.grad, *(size.grad for size in layer.sizes()))  # type: ignore[operator]
    torch.testing.assert_close(found[weight][0], found[-1.0][0])
    for turned, plain in zip(found[weight][1:], found[-1.0][1:], strict=True):
        torch.testing.assert_close(turned, -weight * plain)


def test_one_step_raises_the_loss_by_the_sizes() -> None:
    layer, x = LAYERS["learnt"](), maps()
    direction = noise()[0]

    def loss() -> Tensor:
        return (ran(layer, x).mean((2, 3), keepdim=True) * direction).sum()  # linear in the new means

    before = loss()
    before.backward()
    with torch.no_grad():
        for size in layer.sizes():  # type: ignore[operator]
            size -= 0.1 * size.grad
    assert loss() > before


def test_learnt_sizes_start_once_and_a_file_keeps_that() -> None:
    layer, x = LAYERS["learnt"](), maps()
    assert isinstance(layer, AdvStyle)
    assert layer.growth() == 1
    ran(layer, x)
    for size, shown in zip(layer.sizes(), batch_sizes(x), strict=True):
        torch.testing.assert_close(size.detach(), shown.flatten())
    with torch.no_grad():
        for size in layer.sizes():
            size.mul_(20)
    again = LAYERS["learnt"]()
    again.load_state_dict(layer.state_dict())
    for one in (layer, again, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        ran(one, maps(seed=1), step=1)
        torch.testing.assert_close(one.mean_sizes, 20 * batch_sizes(x)[0].flatten())
        assert one.growth() == pytest.approx(20)
    again.load_state_dict(LAYERS["learnt"]().state_dict())  # one that has not begun
    ran(again, maps(seed=1))
    torch.testing.assert_close(again.mean_sizes.detach(), batch_sizes(maps(seed=1))[0].flatten())


def test_samples_alike_get_noise_of_the_root_of_eps() -> None:
    x = maps(1).expand(4, -1, -1, -1)
    mean, deviation = style(x)
    torch.testing.assert_close(spread(mean), torch.full((1, C, 1, 1), 1e-3, dtype=torch.float64))
    assert (ran(LAYERS["DSU"](), x) - x).abs().max() < 1e-3 * 5 * (1 + 10 / deviation.min())


def test_styles_are_mixed_with_one_other_sample_s_and_without_gradient() -> None:
    """As the official layer: x normalised by detached statistics, and given the mixed ones."""
    layer, x = LAYERS["MixStyle"](), maps().requires_grad_()
    found = ran(layer, x)
    mean, deviation = (some.detach() for some in style(x))
    new_mean, new_deviation = (found - 0).mean((2, 3), keepdim=True), found.var((2, 3), keepdim=True).sqrt()
    for row in range(4):
        fits = []
        for other in range(4):
            span = mean[other] - mean[row]
            share = ((new_mean[row] - mean[row]) / span).flatten() if other != row else torch.zeros(C)
            mixed = deviation[row] + share[0] * (deviation[other] - deviation[row])
            close = torch.allclose(share, share[:1].expand(C), atol=1e-6)
            fits.append(
                close and torch.allclose(new_deviation[row], mixed, rtol=1e-5) and -1e-9 <= share[0] <= 1 + 1e-9
            )
        assert any(fits), row
    found.sum().backward()
    assert x.grad is not None
    ratio = x.grad.flatten(2)
    torch.testing.assert_close(ratio, ratio[:, :, :1].expand_as(ratio))  # a constant a map: statistics gave none


def test_shares_of_mixing_are_beta_distributed() -> None:
    layer = MixStyle(1, probability=1.0, alpha=0.1)
    count = 4000
    x = torch.zeros(count, 1, 1, 2)
    x[:, 0, 0, 0], x[:, 0, 0, 1] = torch.arange(count) - 1.0, torch.arange(count) + 1.0
    with perturbed(layer, batch(count)):
        moved = layer(x.double()).mean((1, 2, 3))
    partner = batch(count).draws_for_all("style").child(0)
    partner.uniform(1)
    others = partner.permutations(count)[0].double()
    own = torch.arange(count).double()
    share = ((moved - others) / (own - others))[own != others]
    assert share.mean().item() == pytest.approx(0.5, abs=0.03)
    assert share.var().item() == pytest.approx(1 / (4 * (2 * 0.1 + 1)), abs=0.01)


def test_layers_act_as_often_as_told_and_all_the_same_for_a_seed_and_step() -> None:
    layer, x = AdvStyle(C).double(), maps()
    kinds = {"none": 0, "learnt": 0, "batch": 0}
    for step in range(600):
        layer.load_state_dict(AdvStyle(C).double().state_dict())
        found = ran(layer, x, step)
        assert torch.equal(found, ran(layer, x, step)) or layer.start > 0
        kinds["none" if found is x else "learnt" if layer.start > 0 else "batch"] += 1
    assert all(abs(number - 200) < 60 for number in kinds.values()), kinds


def test_layers_draw_apart_and_samples_by_their_index() -> None:
    network, x = nn.Sequential(LAYERS["learnt"](), LAYERS["learnt"]()), maps()
    with perturbed(network, batch()):
        one, two = network[0](x), network[1](x)
    assert not torch.allclose(one, two)
    with perturbed(network, batch()):
        assert torch.equal(network[0](x), one)
        assert not torch.allclose(network[0](x), one), "a second call draws anew"
    turned = Batch(torch.zeros(4), torch.arange(4).flip(0))
    with perturbed(network, turned):
        torch.testing.assert_close(network[0](x.flip(0)), one.flip(0))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_type_and_layout_stay(layout: torch.memory_format, dtype: torch.dtype) -> None:
    layer = AdvStyle(C, adversarial=1.0, batch=0.0)
    x = maps().to(dtype).contiguous(memory_format=layout)
    with torch.autocast("cpu", torch.bfloat16) if dtype == torch.bfloat16 else nullcontext():
        found = ran(layer, x)
    assert found.dtype == dtype
    assert found.is_contiguous(memory_format=layout)
    assert layer.mean_sizes.dtype == torch.float32


@pytest.mark.parametrize("name", LAYERS)
def test_what_has_no_style_to_change_gets_one_line(name: str) -> None:
    layer = LAYERS[name]()
    with pytest.raises(DataError, match="maps of 1 x 1 have a mean and no deviation"):
        ran(layer, maps(height=1, width=1))
    with pytest.raises(DataError, match="compares the styles of a batch's samples: give it two or more"):
        ran(layer, maps(1))
    with pytest.raises(DataError, match=r"was made for maps \(4, 3, H, W\), not \(4, 2, 5, 6\)"):
        ran(layer, maps()[:, :2])
    with perturbed(layer, batch(3)), pytest.raises(DataError, match=r"for maps \(3, 3, H, W\), not \(4,"):
        layer(maps())


def test_bad_settings_get_one_line() -> None:
    for make, message in (
        (lambda: AdvStyle(3, weight=-1.0), "weight must be at least 0 and finite, not -1.0"),
        (lambda: AdvStyle(3, adversarial=0.7, batch=0.7), "probabilities whose sum is at most 1, not 0.7 and 0.7"),
        (lambda: AdvStyle(0), "channels must be at least 1, not 0"),
        (lambda: DSU(3, probability=2.0), r"probability must lie in \[0, 1\], not 2.0"),
        (lambda: MixStyle(3, alpha=0.0), "alpha must be above 0 and finite, not 0.0"),
    ):
        with pytest.raises(ConfigError, match=message):
            make()


def test_reversal_is_the_identity_forward_and_turns_the_gradient() -> None:
    x = torch.randn(5, dtype=torch.float64, requires_grad=True)
    found = reversed_gradient(x, 3.0)
    assert torch.equal(found, x)
    (found * torch.arange(5.0)).sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, -3 * torch.arange(5.0).double())


def test_noise_is_normal() -> None:
    drawn = Draws(0, torch.arange(2000)).normal(2, C, 1, 1)
    assert drawn.mean().item() == pytest.approx(0, abs=0.05)
    assert drawn.std().item() == pytest.approx(1, abs=0.05)
    assert math.isfinite(drawn.abs().max().item())


def test_statistics_are_torch_s_own_in_value_and_gradient() -> None:
    x, y = maps().requires_grad_(), maps().requires_grad_()
    found, expected = style(x), (y.mean((2, 3), keepdim=True), (y.var((2, 3), keepdim=True) + 1e-6).sqrt())
    weights = torch.randn(2, 4, C, 1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    for some in (found, expected):
        sum((w * part).sum() for w, part in zip(weights, some, strict=True)).backward()  # type: ignore[union-attr]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(x.grad, y.grad)
    far = style(maps().float() + 1e4)[1]  # no difference of large squares
    torch.testing.assert_close(far, (maps().var((2, 3), keepdim=True) + 1e-6).sqrt().float(), rtol=1e-2, atol=1e-3)
