from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError, DataError
from withstand.core.threat import Ball
from withstand.core.victims.victim import Victim
from withstand.models.pictures.convnets.resnet import ResNet
from withstand.models.pictures.normalized import Normalized
from withstand.verification.network.activation import MaxPool2d
from withstand.verification.network.capture import capture
from withstand.verification.network.capture_check import points_of
from withstand.verification.network.operation import Add, Conv2d, Linear, Rearrange, Scale
from withstand.verification.solvers import certify_by
from withstand.verification.specification.box import Region


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.norm.running_mean.uniform_(-1, 1)
        self.norm.running_var.uniform_(0.5, 2)
        self.act = nn.LeakyReLU(0.1)
        self.avg, self.top = nn.AvgPool2d(2, 2, 1, count_include_pad=False), nn.MaxPool2d(3, 2, 1)
        self.last = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 4:
            raise ValueError("a branch that a symbolic tracer could not follow")
        x = self.act(self.norm(self.conv(x * 2 - 1)))
        wide = nn.functional.pad(x[:, :, ::2, ::2], (1, 0, 0, 1, 1, 1))[:, :4, :4, :4]
        both = torch.cat([self.avg(x)[..., :4, :4], self.top(x)], 1).sigmoid()
        both = both + torch.cat([wide, -wide.tanh()], 1) + torch.ones_like(both)
        first, second = both.chunk(2, 1)
        mixed = torch.cat([first - second, 3 - second], 1)
        return self.last(mixed.mean((2, 3)))


def test_branches_are_captured_exactly() -> None:
    torch.manual_seed(0)
    model = Branches().double().eval()
    x = torch.rand(5, 2, 15, 15, dtype=torch.float64)
    network = capture(model, x)
    torch.testing.assert_close(network(x), model(x), rtol=0, atol=1e-12)
    kinds = [type(node.operation) for node in network.nodes]
    assert kinds[1:3] == [Scale, Conv2d], "the normalisation is folded into the kernel"
    assert MaxPool2d in kinds


def test_our_own_networks_are_captured() -> None:
    torch.manual_seed(0)
    encoder = ResNet(2, 10, stem="large")
    model = Normalized(encoder, (0.4, 0.5, 0.6), (0.2, 0.3, 0.2)).eval()
    x = torch.rand(2, 3, 32, 32)
    network = capture(Victim(model), x)
    torch.testing.assert_close(network(x).float(), model(x), rtol=1e-4, atol=1e-5)
    kinds = [type(node.operation) for node in network.nodes]
    assert kinds.count(Scale) == 1
    assert Add in kinds
    half = network.to(torch.float32)
    assert half(x).dtype == torch.float32


def test_a_victims_normalisation_is_part_of_the_network() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).eval()
    victim = Victim(model, normalize=((0.5, 0.2, 0.1), (0.5, 0.3, 0.2)))
    x = torch.rand(4, 3, 2, 2)
    network = capture(victim, x)
    torch.testing.assert_close(network(x).float(), victim(x))
    assert [type(node.operation) for node in network.nodes[1:]] == [Scale, Rearrange, Linear]


@pytest.mark.parametrize(
    "answer",
    [lambda y: {"logits": y, "features": y * 2}, lambda y: (y,), lambda y: [y], lambda y: SimpleNamespace(logits=y)],
)
def test_answers_are_read_as_by_any_victim(answer: Callable[[Tensor], Tensor]) -> None:
    last, x = nn.Linear(4, 3), torch.rand(5, 4)
    torch.testing.assert_close(capture(lambda x: answer(last(x)), x)(x).float(), last(x))
    found = certify_by(lambda x: answer(last(x)), x, None, Ball("linf", 1e-4))
    assert {verdict.status for verdict in found} <= {"safe", "unsafe"}


@pytest.mark.parametrize(("last", "word"), [(nn.Softmax(1), "softmax"), (nn.LogSoftmax(1), "log-softmax")])
def test_a_softmax_at_the_end_is_stripped_and_said(last: nn.Module, word: str) -> None:
    logits = nn.Linear(4, 3)
    network = capture(nn.Sequential(logits, last).eval(), torch.rand(1, 4))
    assert network.notes[0].startswith(f"{word} at the end stripped")
    x = torch.rand(6, 4)
    torch.testing.assert_close(network(x).float(), logits(x))


def test_what_has_no_bounds_is_named_with_a_rewrite() -> None:
    x = torch.rand(1, 4)
    with pytest.raises(ConfigError, match=r"uses sin, which has no bounds here: rewrite it with linear layers"):
        capture(nn.Sequential(nn.Linear(4, 3), Sine()).eval(), x)
    for jumps in (nn.Threshold(0.1, 0.2), nn.Hardshrink(), torch.round, torch.sign):
        with pytest.raises(ConfigError, match=r"uses .*which has no bounds here"):
            capture(jumps.eval() if isinstance(jumps, nn.Module) else jumps, x)
    with pytest.raises(ConfigError, match=r"not finite"):
        capture(lambda x: (x + torch.tensor([0.0, -torch.inf, 0.0, 0.0])).exp(), x)
    with pytest.raises(ConfigError, match=r"not finite"):
        capture(lambda x: x.masked_fill(torch.tensor([True, False, False, False]), -torch.inf).exp(), x)
    hole = torch.tensor([True, False, False, False])
    for then in (
        lambda x: x,
        torch.relu,
        lambda x: x * 2,
        lambda x: x.log_softmax(1).exp(),
        lambda x: x.log_softmax(1),
    ):
        with pytest.raises(ConfigError, match=r"-inf"):
            capture(lambda x, then=then: then(x.masked_fill(hole, -torch.inf)), x)
    with pytest.raises(ConfigError, match=r"-inf alone, which is no number"):
        capture(lambda x: (x + torch.full((4,), -torch.inf)).softmax(1) * 2, x)
    with pytest.raises(ConfigError, match=r"not finite"):
        capture(lambda x: (x + torch.tensor([0.0, torch.inf, 0.0, 0.0])).softmax(1) * 2, x)
    with pytest.raises(ConfigError, match=r"lower limit above the upper"):
        capture(lambda x: x.clamp(0.5, 0.2), x)
    with pytest.raises(DataError, match=r"along the samples"):
        capture(nn.Sequential(nn.Softmax(0), nn.Linear(4, 3)).eval(), x)
    with pytest.raises(ConfigError, match=r"1 is in train mode: call eval"):
        capture(_half_trained(), x)
    with pytest.raises(ConfigError, match=r"branches on the values"):
        capture(lambda x: x if x.sum() > 0 else -x, x)
    with pytest.raises(ConfigError, match=r"draws at random"):
        capture(lambda x: x + 1e-9 * torch.randn(4), x)
    with pytest.raises(ConfigError, match=r"draws at random"):
        capture(torch.bernoulli, x)
    with pytest.raises(ConfigError, match=r"its batch's own statistics"):
        capture(lambda x: nn.functional.batch_norm(x, torch.zeros(4), torch.ones(4), training=True), x)
    with pytest.raises(ConfigError, match=r"more than the first outcome"):
        capture(lambda x: nn.functional.max_pool2d(x.view(-1, 1, 2, 2), 2, return_indices=True)[1].flatten(1) * x, x)
    with pytest.raises(DataError, match=r"mixes the samples"):
        capture(lambda x: x - x.mean(0), x)
    with pytest.raises(DataError, match=r"mixes the samples"):
        capture(lambda x: x + x.unsqueeze(1).expand(-1, 3, -1), x)
    with pytest.raises(DataError, match=r"does not depend on its input"):
        capture(lambda x: torch.zeros(3, 2), x)
    with pytest.raises(ConfigError, match=r"gives no output 'logits'"):
        capture(lambda x: {"features": x}, x)
    with pytest.raises(DataError, match=r"a tuple of 2 things"):
        capture(lambda x: (x, x), x)


class Sine(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sin()


def added_to_a_column(x: Tensor) -> Tensor:
    y = x * 1.0
    y[:, 0].add_(1)
    return y


def through_several_views(x: Tensor) -> Tensor:
    y = x.clone()
    flat = y.view(len(y), -1)
    flat[:, 1:3] = 0.5
    y.narrow(1, 0, 2).mul_(2)
    flat.select(1, 3).copy_(y[:, 0])
    return flat - y


def put_at_places(x: Tensor) -> Tensor:
    y = torch.zeros_like(x)
    y[:, [0, 2]] = x[:, 1:3]
    y[:, 3] = x[:, 0] + 1
    y[:, 1].fill_(0.25)
    return y.relu_()


def halves_of_one_tensor(x: Tensor) -> Tensor:
    first, second = x.chunk(2, 1)
    first.add_(second)
    return torch.cat([x, first], 1)


def its_own_input(x: Tensor) -> Tensor:
    x[:, 1:] = torch.tensor([0.5, 1.0, 2.0], dtype=x.dtype) - x[:, :1]
    return x.mul_(3)


@pytest.mark.parametrize(
    "function", [added_to_a_column, through_several_views, put_at_places, halves_of_one_tensor, its_own_input]
)
def test_changes_in_place_are_followed_through_all_views(function: Callable[[Tensor], Tensor]) -> None:
    x = torch.rand(7, 4, dtype=torch.float64) * 2 - 0.5
    given = x.clone()
    network = capture(Victim(function, low=-1, high=2), x)
    assert torch.equal(x, given)
    torch.testing.assert_close(network(x), function(x.clone()), rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x.permute(1, 0, 2), "has its samples in dimension 1"),
        (lambda x: x.permute(1, 0, 2).reshape(-1, 4), "has its samples in dimension 0"),
        (lambda x: x.permute(1, 0, 2).mean(1), "a mean mixes the samples"),
        (lambda x: x.permute(1, 0, 2).softmax(1).mean(0), "softmax mixes the samples"),
        (lambda x: x.permute(1, 0, 2).amax() + x, "mixes the samples"),
        (lambda x: x.permute(1, 0, 2).var() + x, "mixes the samples"),
        (lambda x: x.permute(1, 0, 2).var((0, 1, 2), keepdim=True) + x, "mixes the samples"),
        (lambda x: torch.linalg.vector_norm(x.permute(1, 0, 2), keepdim=True) + x, "mixes the samples"),
        (lambda x: x.permute(1, 0, 2).amax((0, 1)), "amax mixes the samples"),
        (lambda x: torch.maximum(x[:, :3], x[:, 0]), "mixes the samples"),
        (lambda x: x[:, :3] * x[:, 0], "mixes the samples"),
        (lambda x: x[:, :3] - x[:, 0], "mixes the samples"),
        (lambda x: torch.clamp(x[:, :3], x[:, 0]), "mixes the samples"),
        (lambda x: torch.where(torch.tensor(True), x[:, :3], x[:, 0]), "mixes the samples"),
        (lambda x: x.permute(1, 0, 2)[:, 0], "mixes the samples"),
        (lambda x: x.permute(1, 0, 2)[0] + x[:, 0].flip(0), "mixes the samples"),
        (lambda x: torch.cat([x.permute(1, 0, 2), x.permute(1, 0, 2)], 1)[0], "cat mixes the samples"),
        (lambda x: x.permute(1, 0, 2)[:3] + x[:, :3], "lie in different dimensions"),
        (lambda x: (x.permute(2, 1, 0) @ torch.ones(3, 2)).mean(1), "samples lie in dimension 2"),
        (lambda x: nn.functional.layer_norm(x.permute(1, 2, 0), (4, 3)), "native_layer_norm mixes the samples"),
        (lambda x: nn.functional.conv1d(x.permute(1, 0, 2), torch.ones(3, 3, 1)), "a convolution of values whose"),
        (lambda x: x.permute(1, 0, 2).reshape(15, 4).permute(1, 0) @ torch.ones(15, 2), "mm of values whose"),
        (lambda x: x.permute(1, 0, 2).reshape(5, 12).softmax(1)[:, :3].t(), "softmax mixes the samples"),
        (
            lambda x: x + torch.arange(3.0)[:, None, None] * x.permute(1, 0, 2)[0][:, None],
            "differs between the samples",
        ),
        (lambda x: (x.permute(1, 0, 2) + torch.arange(3.0)[:, None])[0], "differs between the samples"),
    ],
)
def test_samples_are_followed_wherever_they_lie_or_refused(function: Callable[[Tensor], Tensor], message: str) -> None:
    # Three samples, as the trace has: what mixes them there must not be told from shapes alone.
    x = torch.rand(3, 5, 4)
    with pytest.raises((ConfigError, DataError), match=message):
        capture(Victim(function), x)


def test_attention_too_large_to_be_bounded_is_refused_before_it_is_unrolled() -> None:
    x = torch.rand(1, 128, 8)
    for function in (lambda x: (x @ x.transpose(1, 2)).sum(2), lambda x: 2 * x.sum(2).repeat(1, 8).softmax(1)):
        with pytest.raises(ConfigError, match=r"entries a sample, of which at most 65,536 are bounded"):
            capture(function, x)


@pytest.mark.parametrize("length", [1, 2, 3, 6, 9])
def test_sequences_of_any_length_are_followed(length: int) -> None:
    # A sequence as long as the trace's batch, or a multiple, looks like a batch.
    first = nn.Linear(4, 6).double()
    shift = torch.arange(length, dtype=torch.float64)[:, None, None]

    def model(x: Tensor) -> Tensor:
        y = first(x.transpose(0, 1)).relu() + shift
        y = (y * y[:1].flip(2)).view(length, -1, 2, 3).softmax(3)
        rows = y.permute(1, 2, 0, 3).reshape(-1, length, 3)
        rows = (rows @ rows.transpose(1, 2)).view(-1, 2, length, length)
        return rows.permute(2, 0, 1, 3).mean(0).flatten(1)

    x = torch.rand(7, length, 4, dtype=torch.float64)
    torch.testing.assert_close(capture(model, x)(x), model(x), rtol=0, atol=1e-12)


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.calls.add_(1)


class Remembering(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        self.calls = getattr(self, "calls", 0) + 1
        return x * self.calls


def outside_of_torch(x: Tensor) -> Tensor:
    return x + float(np.sort(x.detach().numpy(), axis=None)[-1])


def only_at_a_corner(x: Tensor) -> Tensor:
    # What a library outside of torch may do: all but the highest corner is as it was traced.
    return x + torch.from_numpy((x.detach().numpy() >= 1).all(1, keepdims=True)).to(x)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (Counting().eval(), "changes a tensor in place by add_"),
        (Remembering().eval(), "differs from the model by"),
        (outside_of_torch, "differs from the model by|not finite"),  # it reads memory that nobody wrote
        (only_at_a_corner, "differs"),
        (lambda x: x.half().float() * 2, "a cast to float16"),
        (lambda x: x.to(torch.bfloat16).to(x.dtype), "a cast to bfloat16"),
    ],
)
def test_what_tracing_cannot_follow_is_refused(function: Callable[[Tensor], Tensor], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        capture(function, torch.rand(1, 4))


def test_the_points_of_the_comparison_are_of_all_regions_corners_among_them() -> None:
    for count in (1, 5, 200):
        x = torch.full((count, 3), 0.5, dtype=torch.float64)
        for norm in ("linf", "l2", "l1"):
            region = Region.around(x, Ball(norm, 0.2))  # type: ignore[arg-type]
            points = points_of(region)
            assert len(points) == max(64, count)
            far = (points - 0.5).abs()
            size = {"linf": far.amax(1), "l2": far.norm(dim=1), "l1": far.sum(1)}[norm]
            assert size.max() <= 0.2 + 1e-9
            if norm == "linf":
                at_corners = (far - 0.2).abs().amax(1) < 1e-9
                assert 0.5 <= at_corners.double().mean() < 1


def test_values_may_be_cast_to_no_fewer_digits() -> None:
    network = capture(lambda x: x.double() * 2, torch.rand(1, 4))
    assert [type(node.operation) for node in network.nodes[1:]] == [Scale]


def _filled(x: Tensor, value: float) -> Tensor:
    y = x.clone()
    y[:, 1] = value
    y[:, 2].fill_(value)
    return y


NUMBERS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "times": lambda x, s: x * s,
    "divided": lambda x, s: x / s,
    "plus": lambda x, s: x + s,
    "from": lambda x, s: s - x,
    "with a share of another": lambda x, s: torch.add(x, 2 * x, alpha=s),
    "with a share of a constant": lambda x, s: torch.sub(x, torch.ones_like(x), alpha=s),
    "leaky": lambda x, s: torch.nn.functional.leaky_relu(x - 0.5, s),
    "filled": lambda x, s: x - torch.full_like(x, s),
    "new": lambda x, s: x - x.new_full((4,), s),
    "a tensor": lambda x, s: x * torch.tensor(s, dtype=x.dtype),
    "written": _filled,
}
"""What a number of Python is put into."""


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("default", [torch.float16, torch.float32, torch.float64])
def test_numbers_are_those_that_the_networks_own_arithmetic_uses(
    name: str, dtype: torch.dtype, default: torch.dtype
) -> None:
    # 0.1 is one number in float32 and another one in float64, whatever torch's default type is.
    function, kept = NUMBERS[name], torch.get_default_dtype()
    x = torch.rand(5, 4, dtype=torch.float64).to(dtype)
    used = float(np.float32(0.1)) if dtype == torch.float32 else 0.1
    torch.set_default_dtype(default)
    try:
        network = capture(lambda x: function(x, 0.1), x)
    finally:
        torch.set_default_dtype(kept)
    torch.testing.assert_close(network(x), function(x.double(), used), rtol=1e-15, atol=1e-16)


def test_constants_are_computed_in_the_networks_own_precision() -> None:
    # Where digits cancel, double precision would make other weights than the network has.
    weight = torch.rand(4) * 1e-6 + 1

    def standardised(x: Tensor) -> Tensor:
        return x * ((weight - weight.mean()) / weight.std())

    network, x = capture(standardised, torch.rand(5, 4)), torch.rand(6, 4)
    torch.testing.assert_close(network(x).float(), standardised(x), rtol=1e-6, atol=0)


def _half_trained() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).eval()
    model[1].train()
    return model


def test_the_model_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True), nn.Linear(4, 2)).eval()
    x = torch.rand(1, 4)
    state = torch.get_rng_state()
    capture(model, x)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(state, torch.get_rng_state())
