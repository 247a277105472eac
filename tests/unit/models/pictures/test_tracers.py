"""Tracers: many as one, first weights, and copies that say what the classifier says within a bound."""

import pytest
import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError, DataError
from withstand.core.random import isolated
from withstand.models.pictures.tracers import TracedCopies, TracedCopy, Tracers, common_scale

SHAPE = (1, 6, 6)


def tracers(count: int = 3, seed: int = 0) -> Tracers:
    with isolated(seed):
        return Tracers(SHAPE, 4, count, width=2).double()


def pictures(count: int = 9) -> Tensor:
    return torch.rand(count, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def network() -> nn.Module:
    with isolated(3):
        return nn.Sequential(nn.Flatten(), nn.Linear(36, 4)).double()


def test_all_at_once_say_what_each_says_alone() -> None:
    many, x = tracers(), pictures()
    told = many(x)
    assert told.shape == (3, 9, 4)
    for place in range(3):
        torch.testing.assert_close(many.only(place)(x)[0], told[place])


def test_each_is_the_network_that_it_says() -> None:
    one, x = tracers(1), pictures()
    maps = nn.functional.conv2d(x, one.first_weight, one.first_bias, padding=1).relu()
    maps = nn.functional.conv2d(maps, one.second_weight, one.second_bias, stride=2, padding=1).relu()
    gate = nn.functional.linear(maps.mean((2, 3)), one.squeeze_weight[0], one.squeeze_bias[0]).relu()
    gate = nn.functional.linear(gate, one.excite_weight[0], one.excite_bias[0]).sigmoid()
    features = (maps * gate[..., None, None]).flatten(1)
    torch.testing.assert_close(one(x)[0], nn.functional.linear(features, one.head_weight[0], one.head_bias[0]).tanh())


def test_parts_of_many_pictures_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    many, x = tracers(), pictures()
    whole = many(x)
    monkeypatch.setattr("withstand.models.pictures.tracers._AT_ONCE", 2 * 3 * 2 * 36)
    torch.testing.assert_close(many(x), whole)


def test_no_pictures_have_no_answers() -> None:
    assert tracers()(pictures(0)).shape == (3, 0, 4)


def test_first_weights_hang_on_seed_and_number_alone() -> None:
    few, many, others = tracers(2), tracers(4), tracers(2, seed=1)
    for place in range(2):
        for one, same in zip(few.only(place).parameters(), many.only(place).parameters(), strict=True):
            assert torch.equal(one, same)
    assert not torch.equal(few.head_weight, others.head_weight)
    assert not torch.equal(few.only(0).head_weight, few.only(1).head_weight)


def test_the_common_scale_has_mean_0_and_deviation_1() -> None:
    logits = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 7 + 3
    scaled = common_scale(logits)
    torch.testing.assert_close(scaled.mean(1), torch.zeros(5, dtype=torch.float64))
    torch.testing.assert_close(scaled.square().mean(1), torch.ones(5, dtype=torch.float64))
    torch.testing.assert_close(common_scale(3 * logits - 1), scaled)
    assert common_scale(torch.ones(2, 4)).eq(0).all()


def test_a_copy_without_weight_is_the_classifier() -> None:
    copies, x = TracedCopies(network(), tracers(), 0.0), pictures()
    assert torch.equal(copies(x), common_scale(copies.classifier(x)).expand(3, -1, -1))


@pytest.mark.parametrize("alpha", [0.1, 0.3, 0.9])
def test_no_copy_contradicts_a_margin_of_two_alpha(alpha: float) -> None:
    many = tracers()
    with torch.no_grad():
        many.head_weight.mul_(1e3)  # as far as tanh goes
    copies = TracedCopies(network(), many, alpha)
    x = pictures(400)
    scaled = common_scale(copies.classifier(x))
    top = scaled.topk(2, 1).values
    sure = top[:, 0] - top[:, 1] > 2 * alpha
    assert sure.any()
    said = copies(x).argmax(2)
    assert (said[:, sure] == scaled.argmax(1)[sure]).all()
    if alpha == 0.9:
        assert (said != scaled.argmax(1)).any(), "below the bound copies may differ"


def test_a_copy_is_a_row_of_all_of_them() -> None:
    copies, x = TracedCopies(network(), tracers(), 0.3, reserve=1), pictures()
    assert copies.registered == 2
    for place in range(3):
        torch.testing.assert_close(copies.copy(place)(x), copies(x)[place])


def test_what_makes_no_tracers_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 3 classes, not 2"):
        Tracers(SHAPE, 2)
    with pytest.raises(ConfigError, match="count and width"):
        Tracers(SHAPE, 4, 0)
    with pytest.raises(ConfigError, match="2 x 2 pixels"):
        Tracers((36,), 4)
    with pytest.raises(DataError, match=r"\(1, 6, 6\), not \(3, 6, 6\)"):
        tracers()(torch.rand(1, 3, 6, 6))
    with pytest.raises(ConfigError, match="no tracer 3"):
        tracers().only(3)
    for alpha in (-0.1, 1.0, float("nan")):
        with pytest.raises(ConfigError, match="alpha"):
            TracedCopies(network(), tracers(), alpha)
    with pytest.raises(ConfigError, match="at most 1"):
        TracedCopies(network(), tracers(), reserve=2)
    with pytest.raises(ConfigError, match="one tracer, not 3"):
        TracedCopy(network(), tracers())
