import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from withstand.attacks.fast_passes.folding import folded
from withstand.attacks.fast_passes.strided import _Strided, shorten_slopes
from withstand.attacks.inputs.gradient import PGD
from withstand.core.threat import Ball
from withstand.core.victims.victim import Victim


def layer(*sizes: int, **settings: object) -> nn.Conv2d:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        return nn.Conv2d(*sizes, **settings).double().requires_grad_(False)


@given(
    channels=st.integers(1, 4),
    kernel=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    stride=st.integers(2, 5),
    padding=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    more=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    bias=st.booleans(),
)
@settings(max_examples=120, deadline=None)
def test_slopes_are_the_layers_own(
    channels: int, kernel: tuple[int, int], stride: int, padding: tuple[int, int], more: tuple[int, int], bias: bool
) -> None:
    conv = layer(channels, 5, kernel, stride=stride, padding=padding, bias=bias)
    shape = [max(k - 2 * p, 1) + extra for k, p, extra in zip(kernel, padding, more, strict=True)]
    x = torch.randn(2, channels, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    slopes = []
    for run in (conv, _Strided(conv)):
        z = x.clone().requires_grad_(True)
        out = run(z)
        slopes.append((out, *torch.autograd.grad(out.sin().sum(), z)))
    for wanted, found in zip(*slopes, strict=True):
        assert found.shape == wanted.shape
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)


def test_slopes_of_slopes_and_of_single_samples() -> None:
    conv = layer(3, 6, 4, stride=2, padding=1)
    short, x = _Strided(conv), torch.randn(3, 3, 9, 8, dtype=torch.float64)
    seconds = []
    for run in (conv, short):
        z = x.clone().requires_grad_(True)
        first = torch.autograd.grad(run(z).sin().sum(), z, create_graph=True)[0]
        seconds.append(torch.autograd.grad(first.square().sum(), z)[0])
        single = torch.func.vmap(torch.func.grad(lambda one, run=run: run(one[None]).sin().sum()))(x)
        torch.testing.assert_close(single, first)
    torch.testing.assert_close(*seconds)


@pytest.mark.parametrize(
    "conv",
    [
        layer(3, 6, 4),
        layer(5, 6, 4, stride=2),
        layer(4, 6, 4, stride=2, groups=2),
        layer(3, 6, 3, stride=2, dilation=2),
        layer(3, 6, 3, stride=2, padding=1, padding_mode="reflect"),
        layer(3, 6, 3, stride=(2, 1)),
        layer(3, 6, 3, stride=2).requires_grad_(True),
    ],
    ids=str,
)
def test_others_are_left_alone(conv: nn.Conv2d) -> None:
    assert shorten_slopes(nn.Sequential(conv)) == 0


class Patches(nn.Module):
    """A small ViT's way in, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.head = nn.Linear(8 * 9, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.gelu(self.patches(x)).flatten(1))


def test_attacks_find_the_same_with_and_without_and_the_model_is_left_as_it_was() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = Patches().double()
        x = torch.rand(6, 3, 12, 12, dtype=torch.float64)
    y = torch.arange(6) % 5
    with Victim(model).held() as victim:
        assert "forward" in folded(victim, x[:2]).model.patches.__dict__
    attack = PGD(Ball("linf", 0.1), steps=8)
    by_module, by_function = attack(Victim(model), x, y), attack(Victim(model.forward), x, y)
    torch.testing.assert_close(by_module.x, by_function.x, rtol=0, atol=1e-9)
    assert "forward" not in model.patches.__dict__
    assert all(parameter.requires_grad for parameter in model.parameters())


class Detached(Patches):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.detach())


class Crooked(Patches):
    """Its slopes are not those of its outputs, and must stay what they are."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.detach() - (x - x.detach()))


def test_slopes_that_are_no_slopes_stay_as_they_are() -> None:
    x = torch.rand(2, 3, 12, 12)
    with Victim(Detached()).held() as victim:
        assert folded(victim, x) is victim  # nothing to compare slopes by
    with Victim(Crooked()).held() as victim:
        slopes = []
        for side in (victim, folded(victim, x)):
            z = x.clone().requires_grad_(True)
            slopes.append(torch.autograd.grad(side.output(z).square().sum(), z)[0])
        torch.testing.assert_close(*slopes)
