"""Layer by layer: what is read, what a head's weighing is in closed form, and what is refused."""

import pytest
import torch
from torch import Tensor, nn

from toys import ToyPictures, toy_method
from withstand.core.errors import ConfigError, DataError
from withstand.core.part import build, describe
from withstand.core.roles import Model
from withstand.data.arrays.source import ArraySource
from withstand.evaluation.probes.linear import fit_linear
from withstand.evaluation.probes.probe import CONTROL
from withstand.evaluation.representation.layers import condition, head_weights, layer_features, spectrum
from withstand.evaluation.representation.projection_head import Layers
from withstand.losses.contrast.spectral import feature_weights
from withstand.methods.contrastive.simclr import SimCLR
from withstand.models.blocks.reweighting import ReweightingHead


def white(count: int, width: int, seed: int = 0) -> Tensor:
    """Samples whose covariance is exactly the identity."""
    x = torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.linalg.qr(x - x.mean(0)).Q * count**0.5


def test_a_linear_heads_weights_in_closed_form() -> None:
    turn = torch.linalg.qr(white(4, 4, 1)).Q
    deviations = torch.tensor([4.0, 3.0, 2.0, 1.0], dtype=torch.float64)
    head = white(5, 4, 2)
    x = white(200, 4) * deviations @ turn.T
    found = head_weights(x.float(), (x @ head.T + 7).float())
    torch.testing.assert_close(found.before, deviations, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.after, (head @ turn).norm(dim=0) * deviations, rtol=0, atol=1e-4)
    assert found.linear_share == pytest.approx(1, abs=1e-6)


def test_a_head_of_the_linear_theory_weighs_its_features_again_by_their_own_weight() -> None:
    """Two balanced layers: features weighed by the root of sigma, outputs by sigma."""
    shared, noise = (torch.tensor(some, dtype=torch.float64) for some in ([1.0, 0.5, 0.25, 0.8], [0.1, 0.1, 0.1, 1.2]))
    pre, post = (feature_weights(shared, noise, 3, layer=layer) for layer in (1, 2))
    deviations = (shared + noise).sqrt()
    x = white(100, 4) * deviations
    found = head_weights((x * pre).float(), (x * post).float())
    kept = (pre * deviations).argsort(descending=True)[:3]  # the fourth is dropped: no direction
    torch.testing.assert_close(found.before, (pre * deviations)[kept], rtol=0, atol=1e-5)
    torch.testing.assert_close(found.after / found.before, pre[kept], rtol=0, atol=1e-5)


def test_what_is_not_linear_is_told() -> None:
    x = white(400, 2).float()
    found = head_weights(x, torch.cat([x[:, :1], x[:, 1:].square()], 1))
    assert found.linear_share < 0.9
    with pytest.raises(DataError, match="twice as many samples, not 3"):
        head_weights(x[:3], x[:3])


def test_spectra() -> None:
    x = white(50, 3) * torch.tensor([5.0, 2.0, 0.0], dtype=torch.float64) + 9
    values = spectrum(x.float())
    torch.testing.assert_close(values, torch.tensor([5.0, 2.0, 0.0]).double() * 50**0.5, rtol=1e-5, atol=0)
    assert condition(values) == pytest.approx(2.5)
    assert condition(spectrum(torch.ones(9, 3))) == 1


def test_layers_of_a_method_in_order() -> None:
    method, source = toy_method(), ToyPictures(24)
    modes = [module.training for module in method.modules()]
    found = layer_features(method, source, batch=10)
    assert [module.training for module in method.modules()] == modes
    assert list(found) == ["blocks.0", "blocks.1", "blocks.2", "encoder", "head, layer 1", "head"]
    assert [some.width for some in found.values()] == [4, 8, 16, 32, 32, 16]
    method.eval()
    with torch.no_grad():
        features = method.encoder(source[torch.arange(24)].x)
        torch.testing.assert_close(found["encoder"].x, features)
        torch.testing.assert_close(found["head"].x, method.head(features))
        torch.testing.assert_close(found["head, layer 1"].x, method.head.steps[0](features))
    assert list(layer_features(method, source, most=1)) == ["encoder", "head, layer 1", "head"]
    assert len(layer_features(method, source, limit=9)["head"]) == 9
    assert list(layer_features(nn.Sequential(nn.Flatten(), nn.Linear(768, 3)), source)) == ["encoder"]


class Kept(Model):
    """Features that are the samples themselves."""

    width = 4

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4, bias=False)
        nn.init.eye_(self.layer.weight)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.layer(x)
        return features


class Drops(Model):
    """A head that keeps the second half of the features alone."""

    width = 2

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 2:]


def rows(count: int, seed: int) -> ArraySource:
    """Samples whose first feature tells their class."""
    x = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))
    y = torch.arange(count) % 2
    x[:, 0] += 8 * y
    return ArraySource(x, y, layout="rows")


def test_what_the_head_throws_away_is_measured() -> None:
    method = SimCLR(Kept(), head=Drops())
    finding = Layers(C=1.0).evaluate(method, rows(200, 0), test=rows(100, 1), control=method)
    numbers = finding.numbers
    assert numbers["linear accuracy before the head"] == 1
    assert numbers["linear accuracy after the head"] < 0.7
    lost = numbers["linear accuracy before the head"] - numbers["linear accuracy after the head"]
    assert numbers["accuracy lost in the head"] == pytest.approx(lost)
    assert finding.protocol["best layer"] == "encoder"
    assert numbers["linear accuracy before the head, 2 principal directions"] == 1
    assert finding.believable
    expected = fit_linear(layer_features(method, rows(200, 0))["head"], C=1.0)
    tested = layer_features(method, rows(100, 1))["head"]
    right = (expected.predict(tested.x) == tested.labels).double().mean().item()
    assert numbers["linear accuracy after the head"] == pytest.approx(right)
    readings = finding.tables["three readings of each layer"]
    assert readings.column("layer name") == ("encoder", "head")
    assert finding.tables["accuracy by layer"].columns[-1] == f"linear accuracy, {CONTROL}"
    weights = finding.tables["weighing by the head"].column("share of the largest, after")
    assert weights[0] < 0.2, "the direction that tells the classes is dropped"


def test_a_fixed_head_is_a_weighing_and_loses_nothing() -> None:
    method = SimCLR(Kept(), head=ReweightingHead(4, 3.0))
    finding = Layers(C=1.0).evaluate(method, rows(200, 0), test=rows(100, 1))
    assert finding.numbers["accuracy lost in the head"] == 0
    assert finding.numbers["share of the head's output that is linear in the features"] == pytest.approx(1, abs=1e-6)
    before, after = (finding.numbers[f"condition number {where} the head"] for where in ("before", "after"))
    assert after > 5 * before


def test_without_labels_and_without_a_head() -> None:
    bare = ArraySource(torch.rand(40, 4), layout="rows")
    finding = Layers().evaluate(Kept(), bare)
    assert set(finding.numbers) == {"effective rank of the encoder", "condition number of the encoder"}
    assert set(finding.tables) == {"effective rank by layer", "singular values", "layers"}
    held = Layers().evaluate(toy_method(), ToyPictures(60))
    assert held.protocol["train"] == 48
    assert held.protocol["test"] == 12
    assert [check.passed for check in held.checks] == [None, True], "60 samples are too few for 32 features"


def test_settings_and_mistakes() -> None:
    assert build(describe(Layers(k=3))) == Layers(k=3)
    with pytest.raises(ConfigError, match="C above 0"):
        Layers(C=0)
    with pytest.raises(ConfigError, match="only networks have layers"):
        Layers().evaluate(lambda x: x, rows(20, 0))
