import pytest
import torch
from torch import Tensor, nn

from victims import random_pictures, small_net
from withstand.attacks.fast_passes import folding
from withstand.attacks.fast_passes.folding import folded
from withstand.attacks.inputs.gradient import PGD
from withstand.core.threat import Ball
from withstand.core.victims.victim import Victim
from withstand.models.pictures.convnets.resnet import ResNet

X = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def lived(net: nn.Module) -> nn.Module:
    """Give batch normalisations statistics and weights of their own."""
    generator = torch.Generator().manual_seed(1)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            for value, low in ((module.running_mean, -1), (module.running_var, 0.2)):
                value.uniform_(low, 2, generator=generator)
            if module.affine:
                nn.init.normal_(module.weight, generator=generator)
                nn.init.normal_(module.bias, generator=generator)
    return net.double().eval()


def identities(victim: Victim) -> int:
    return sum(module.__dict__.get("forward") is folding._identity for module in victim.model.modules())


def net(**kwargs: object) -> nn.Module:
    return lived(
        nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular", bias=False),
            nn.BatchNorm2d(4, **kwargs),
            nn.ReLU(inplace=True),
            nn.Conv2d(4, 6, 3, stride=2, groups=2),
            nn.BatchNorm2d(6, affine=False),
            nn.Flatten(),
            nn.Linear(54, 7),
            nn.BatchNorm1d(7),
            nn.Linear(7, 5),
        )
    )


@pytest.mark.parametrize(("model", "count"), [(net(eps=0.1), 3), (lived(ResNet(4, 10)), 12)])
def test_outputs_and_gradients_stay_and_the_model_too(model: nn.Module, count: int) -> None:
    victim = Victim(model, normalize=((0.5,) * 3, (0.2,) * 3))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with victim.held():
        fast = folded(victim, X[:2])
        assert identities(fast) == count
        assert identities(victim) == 0
        slopes = []
        for side in (victim, fast):
            x = X.clone().requires_grad_(True)
            out = side(x)
            slopes.append((out, torch.autograd.grad(out.square().sum(), x)[0]))
    for wanted, found in zip(*slopes, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_attacks_find_the_same_with_and_without() -> None:
    x, y = random_pictures(dtype=torch.float64)
    model = lived(small_net())
    attack = PGD(Ball("linf", 0.1), steps=8)
    by_module = attack(Victim(model), x, y)
    by_function = attack(Victim(model.forward), x, y)
    torch.testing.assert_close(by_module.x, by_function.x, rtol=0, atol=1e-9)


class Odd(nn.Module):
    """A convolution whose output is used twice, once without its normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return (self.norm(y) + y).mean((2, 3))


class Shared(Odd):
    """One normalisation after two calls of one convolution."""

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x)).mean((2, 3)) + self.norm(self.conv(x.flip(3))).mean((2, 3))


class Stubborn(Odd):
    """Cannot be copied."""

    def __reduce_ex__(self, protocol: object) -> object:
        raise TypeError

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x)).mean((2, 3))


class Hooked(Stubborn):
    __reduce_ex__ = nn.Module.__reduce_ex__

    def __init__(self) -> None:
        super().__init__()
        self.conv.register_forward_hook(lambda module, args, out: None)


@pytest.mark.parametrize("kind", [Odd, Shared, Stubborn, Hooked])
def test_what_cannot_be_folded_is_left_alone(kind: type[nn.Module]) -> None:
    victim = Victim(lived(kind()))
    with victim.held():
        assert folded(victim, X[:2]) is victim


def test_plain_functions_and_nets_without_norms_are_left_alone() -> None:
    for model in (lambda x: x, nn.Conv2d(3, 4, 3), lived(nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)))):
        victim = Victim(model)
        with victim.held():
            assert folded(victim, X[:2]) is victim


def test_batch_statistics_in_eval_mode_are_left_alone() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)).double()
    victim = Victim(model)
    with victim.held():
        assert folded(victim, X) is victim


class Noisy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = net()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x + torch.randn_like(x))


def test_a_model_that_draws_still_draws_when_folded() -> None:
    victim = Victim(Noisy())
    with victim.held():
        fast = folded(victim, X[:2])
        assert identities(fast) == 3
        assert not torch.equal(fast(X), fast(X))
