import pytest
import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError, DataError
from withstand.core.part import build, describe
from withstand.core.victims.victim import Victim


class Net(nn.Module):
    """A net with a frozen batch norm inside a train-mode root, mixed flags, a counter buffer and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.BatchNorm1d(4), nn.Dropout(0.5))
        self.head = nn.Linear(4, 3)
        self.register_buffer("calls", torch.tensor(0))
        self.body[1].eval()
        self.head.weight.requires_grad_(False)
        self.head.bias.grad = torch.full((3,), 7.0)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.head(self.body(x))


def snapshot(model: nn.Module) -> tuple[list[bool], list[tuple[bool, bool]], list[Tensor], Tensor]:
    return (
        [module.training for module in model.modules()],
        [(parameter.requires_grad, parameter.grad is None) for parameter in model.parameters()],
        [value.clone() for value in model.state_dict().values()],
        torch.get_rng_state(),
    )


@pytest.mark.parametrize("fails", [False, True])
def test_held_restores_everything(fails: bool) -> None:
    net = Net()
    grad = net.head.bias.grad
    modes, flags, values, generator = snapshot(net)
    try:
        with Victim(net).held() as victim:
            assert not any(module.training for module in net.modules())
            assert not any(parameter.requires_grad for parameter in net.parameters())
            victim(torch.rand(5, 4))
            net.body[2].running_mean.add_(1)
            net.body[0].train()
            net.head.bias.requires_grad_(True)
            net.head.bias.grad = None
            torch.rand(3)
            if fails:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert fails
    after = snapshot(net)
    assert (modes, flags) == after[:2]
    assert net.head.bias.grad is grad
    assert all(torch.equal(a, b) for a, b in zip(values, after[2], strict=True))
    assert torch.equal(generator, after[3])


def test_held_twice_restores_in_turn() -> None:
    net = Net()
    modes = [module.training for module in net.modules()]
    victim = Victim(net)
    with victim.held():
        with victim.held():
            pass
        assert not any(module.training for module in net.modules())
    assert [module.training for module in net.modules()] == modes


def test_plain_functions_can_be_held() -> None:
    with Victim(lambda x: x * 2).held() as victim:
        assert victim(torch.ones(1, 2)).tolist() == [[2, 2]]


@pytest.mark.parametrize("shape", [(3, 2), (3, 2, 5), (3, 2, 4, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normalization_is_per_channel(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    mean, std = (0.2, 0.7), (0.5, 0.25)
    x = torch.rand(shape, dtype=dtype)
    found = Victim(nn.Identity(), normalize=(mean, std))(x)
    assert found.dtype == dtype
    for channel in range(2):
        torch.testing.assert_close(found[:, channel], (x[:, channel] - mean[channel]) / std[channel])


def test_dict_outputs_are_picked_by_name() -> None:
    victim = Victim(lambda x: {"logits": x, "embedding": -x})
    x = torch.rand(2, 3)
    assert torch.equal(victim.output(x), x)
    assert torch.equal(victim.output(x, "embedding"), -x)
    assert torch.equal(Victim(nn.Identity()).output(x, "anything"), x)
    with pytest.raises(ConfigError, match="did you mean 'embedding'"):
        victim.output(x, "embeding")


def test_range_is_kept_with_room_for_rounding() -> None:
    victim = Victim(nn.Identity(), low=-1, high=1)
    x = torch.tensor([[-1 - 1e-6, 1 + 1e-6, 0.3]])
    assert torch.equal(victim.check(x), torch.tensor([[-1, 1, 0.3]]))
    with pytest.raises(DataError, match=r"\[-1\.1, 0\.3\], outside \[-1, 1\].*normalize="):
        victim.check(torch.tensor([[-1.1, 0.3]]))
    inside = torch.rand(4, 3)
    assert torch.equal(victim.check(inside), inside)
    assert victim.check(torch.rand(0, 3)).shape == (0, 3)


@pytest.mark.parametrize("x", [torch.zeros(2, 3, dtype=torch.uint8), torch.zeros(2, 3, dtype=torch.int64)])
def test_integers_are_refused_with_the_remedy(x: Tensor) -> None:
    with pytest.raises(DataError, match=r"x\.float\(\) / 255"):
        Victim(nn.Identity()).check(x)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(DataError, match="NaN or infinite"):
        Victim(nn.Identity()).check(torch.tensor([[0.5, value]]))


@pytest.mark.parametrize(
    "settings",
    [{"low": 1.0, "high": 0.0}, {"low": 0.0, "high": 0.0}, {"normalize": ((0.5,), (0.0,))}, {"normalize": ((0.5,),)}],
)
def test_useless_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        Victim(nn.Identity(), **settings)  # type: ignore[arg-type]


def test_description_asks_for_the_model_again() -> None:
    net = Net()
    victim = Victim(net, low=-1, normalize=((0.1,), (0.2,)))
    tree = describe(victim)
    with pytest.raises(ConfigError, match="supply it again"):
        build(tree)
    again = build(tree, supply={"model": net})
    assert (again.model, again.low, again.normalize) == (net, -1, ((0.1,), (0.2,)))
