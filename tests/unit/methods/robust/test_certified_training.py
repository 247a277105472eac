"""Training for certificates: its bounds are the certifier's, its schedules are monotone, its gradients are right."""

import copy
import itertools
import pickle
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError
from withstand.core.roles import Model
from withstand.methods.robust.certified_training import CertifiedTraining, worst_logits
from withstand.models.pictures.convnets.convnet import ConvNet
from withstand.models.pictures.convnets.resnet import ResNet
from withstand.models.pictures.normalized import Normalized
from withstand.verification.bounds.margins import bound, margin_weights
from withstand.verification.bounds.training_bounds import LiveNetwork
from withstand.verification.network.capture import capture
from withstand.verification.specification.box import Region


class Perceptron(Model):
    def __init__(self, sizes: tuple[int, ...] = (64, 8)) -> None:
        super().__init__()
        pairs = itertools.pairwise(sizes)
        self.layers = nn.Sequential(nn.Flatten(), *(layer for a, b in pairs for layer in (nn.Linear(a, b), nn.ReLU())))
        self.width = sizes[-1]

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.layers(x)
        return features


def pictures(count: int = 6, side: int = 8, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(0)
    x = torch.rand(count, 1, side, side, generator=draws, dtype=dtype)
    return x, torch.randint(4, (count,), generator=draws)


@pytest.fixture(params=["convnet", "resnet", "perceptron"])
def method(request: pytest.FixtureRequest) -> CertifiedTraining:
    torch.manual_seed(0)
    encoders = {
        "convnet": lambda: Normalized(ConvNet(3, (1, 8, 8), hidden=10), (0.5,), (0.25,)),
        "resnet": lambda: Normalized(ResNet(2, 10, 1, "small"), (0.5,), (0.25,)),
        "perceptron": lambda: Perceptron((64, 12, 10)),
    }
    return CertifiedTraining(encoders[request.param](), classes=4, eps=0.05).double()


def test_training_bounds_are_the_certifiers(method: CertifiedTraining) -> None:
    x, y = pictures()
    for _ in range(2):
        method.train()
        method.logits(x)  # moves the running statistics: bounds must follow them, and the weights
        with torch.no_grad():
            for parameter in method.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
        network = capture(method.network().eval(), x)
        region = Region((x - 0.02).clamp_min(0), (x + 0.02).clamp_max(1))
        wanted = {kind: bound(network, region, margin_weights(y, 4), kind) for kind in ("ibp", "crown-ibp")}
        method.train()
        interval, mixed = (method.margins(x, y, 0.02, beta=beta) for beta in (0.0, 0.5))
        assert torch.allclose(interval, wanted["ibp"], atol=1e-9)
        back = 2 * mixed - interval
        assert torch.allclose(torch.maximum(interval, back), wanted["crown-ibp"], atol=1e-9)
        assert method.training
        assert all(child.training for child in method.modules())


@pytest.mark.thorough
def test_gradients_are_those_of_differences(method: CertifiedTraining) -> None:
    x, y = pictures(3)
    method.eval()
    draws = torch.Generator().manual_seed(1)
    directions = [torch.randn(p.shape, generator=draws, dtype=p.dtype) for p in method.parameters()]
    for beta in (0.0, 1.0):
        margins = method.margins(x, y, 0.01, beta=beta)
        weight = torch.randn(margins.shape, generator=draws, dtype=margins.dtype)
        slopes = torch.autograd.grad((margins * weight).sum(), list(method.parameters()))
        expected = sum(float((slope * step).sum()) for slope, step in zip(slopes, directions, strict=True))
        values, small = [], 1e-7
        for sign in (1, -1):
            moved = copy.deepcopy(method)
            with torch.no_grad():
                for parameter, step in zip(moved.parameters(), directions, strict=True):
                    parameter.add_(sign * small * step)
            values.append((moved.margins(x, y, 0.01, beta=beta) * weight).sum().item())
        assert (values[0] - values[1]) / (2 * small) == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_an_affine_network_has_the_closed_form() -> None:
    # margin_j = f_y - f_j - eps * ||w_y - w_j||_1 where the box is inside the range.
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).double()
    x = torch.full((2, 1, 4, 4), 0.5, dtype=torch.float64)
    y = torch.tensor([0, 2])
    found = LiveNetwork(network).margins(x, y, 0.1, methods=("ibp", "crown-ibp"))
    weight = margin_weights(y, 3)
    matrix = weight @ network[1].weight
    expected = (weight @ network(x)[..., None])[..., 0] - 0.1 * matrix.abs().sum(-1)
    for margins in found:
        assert torch.allclose(margins, expected, atol=1e-9)


def test_worst_logits_are_met_at_the_margins() -> None:
    margins = torch.tensor([[1.0, -2.0, 0.5], [3.0, 2.0, 1.0]])
    y = torch.tensor([2, 0])
    logits = worst_logits(margins, y)
    weight = margin_weights(y, 4).float()
    assert torch.equal((weight @ logits[..., None])[..., 0], margins)


def test_schedules_are_monotone_and_end_where_they_should() -> None:
    method = CertifiedTraining(Perceptron(), classes=4, warmup=0.1, ramp=0.5)
    method.before_run(100)
    grown = [method.grown(step) for step in range(101)]
    assert grown[:11] == [0.0] * 11
    assert grown[35] == pytest.approx(0.5)
    assert grown[60:] == [1.0] * 41
    assert grown == sorted(grown)


@pytest.mark.parametrize("kind", ["ibp", "crown-ibp"])
def test_the_loss_goes_from_the_clean_one_to_the_mix(kind: str) -> None:
    torch.manual_seed(0)
    method = CertifiedTraining(Perceptron(), classes=4, eps=0.1, bound=kind, warmup=0.0, ramp=0.5).double()  # type: ignore[arg-type]
    method.before_run(10)
    x, y = pictures()
    batch = Batch(x, index=torch.arange(6), y=y)
    clean = nn.functional.cross_entropy(method.logits(x), y)
    assert torch.equal(method.step(batch)["loss"], clean)
    batch = replace(batch, step=10)
    worst = nn.functional.cross_entropy(worst_logits(method.margins(x, y, 0.1), y), y)
    terms = method.step(batch)
    assert terms["loss"].item() == pytest.approx((0.5 * clean + 0.5 * worst).item())
    assert terms["radius"].item() == pytest.approx(0.1)
    assert terms["certified_accuracy"] <= terms["clean_accuracy"]
    batch = replace(batch, step=2)
    beta = 1 - method.grown(2) if kind == "crown-ibp" else 0.0
    worst = nn.functional.cross_entropy(worst_logits(method.margins(x, y, 0.04, beta=beta), y), y)
    assert method.step(batch)["loss"].item() == pytest.approx((0.8 * clean + 0.2 * worst).item())


def test_copies_and_pickles_bound_their_own_weights() -> None:
    x, y = pictures()
    method = CertifiedTraining(Perceptron(), classes=4).double()
    before = method.margins(x, y, 0.1)
    for other in (copy.deepcopy(method), pickle.loads(pickle.dumps(method))):
        with torch.no_grad():
            other.classifier.weight.mul_(2)
            other.classifier.bias.mul_(2)
        assert torch.allclose(other.margins(x, y, 0.1), 2 * before)
        assert torch.equal(method.margins(x, y, 0.1), before)


def test_bad_settings_are_refused() -> None:
    encoder = Perceptron()
    with pytest.raises(ConfigError, match=r"bound 'crown' is unknown: did you mean .*crown-ibp"):
        CertifiedTraining(encoder, classes=4, bound="crown")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="eps must be above 0"):
        CertifiedTraining(encoder, classes=4, eps=0.0)
    with pytest.raises(ConfigError, match="warmup, ramp and kappa"):
        CertifiedTraining(encoder, classes=4, warmup=0.6, ramp=0.6)


def test_an_encoder_without_bounds_is_refused_with_a_rewrite() -> None:
    class Waves(Perceptron):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).cos()

    method = CertifiedTraining(Waves(), classes=4, warmup=0.0)
    x, y = pictures(dtype=torch.float32)
    with pytest.raises(ConfigError, match="cos, which has no bounds here: rewrite it"):
        method.step(Batch(x, index=torch.arange(6), y=y, step=1))
