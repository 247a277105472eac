import pytest
import torch
from torch import nn

from withstand.core.errors import ConfigError, DataError
from withstand.models.blocks.reweighting import ReweightingHead
from withstand.models.blocks.taps import layer_names, row_layers, tapped
from withstand.models.pictures.convnets.resnet import ResNet
from withstand.models.pictures.normalized import Normalized


def test_features_fall_in_a_series() -> None:
    x = torch.ones(2, 6, requires_grad=True)
    head = ReweightingHead(6, 1.5)
    z = head(x)
    torch.testing.assert_close(z[:, 1:] / z[:, :-1], torch.full((2, 5), 1 / 1.5))
    z.sum().backward()
    torch.testing.assert_close(x.grad, z.detach())
    assert not list(head.parameters())
    assert torch.equal(ReweightingHead(6, 1.0)(x), x)


def test_what_a_series_cannot_be() -> None:
    with pytest.raises(ConfigError, match=r"kappa 1.2 to the power -511 is 0 in float32: give 1.186 or less"):
        ReweightingHead(512, 1.2)
    assert ReweightingHead(512, 1.18).scale[-1] > 0
    with pytest.raises(ConfigError, match="at least 1"):
        ReweightingHead(512, 0.9)
    with pytest.raises(DataError, match=r"\(B, 4\)"):
        ReweightingHead(4)(torch.ones(2, 5))


def test_taps() -> None:
    network = nn.Sequential(Normalized(ResNet(2, 10), (0.5,) * 3, (0.25,) * 3), nn.Linear(16, 4)).eval()
    names = layer_names(network)
    assert names == (*(f"0.encoder.blocks.{place}" for place in range(4)), "1")
    x = torch.rand(5, 3, 8, 8)
    found = tapped(network, x, names)
    assert [value.shape for value in found.values()] == [(5, 2), (5, 4), (5, 8), (5, 16), (5, 4)]
    torch.testing.assert_close(found["1"], network(x).detach())
    torch.testing.assert_close(found["0.encoder.blocks.3"], network[0](x).detach())
    assert not network[1]._forward_hooks
    with pytest.raises(ConfigError, match=r"no layer '0\.encoder\.block\.3'"):
        tapped(network, x, ["0.encoder.block.3"])
    assert row_layers(network, x[:2]) == names
    network[0].spare = nn.Linear(1, 1)
    assert row_layers(network, x[:2]) == names, "what is not run is left out"
    with pytest.raises(ConfigError, match=r"does not run its layer '0\.spare'"):
        tapped(network, x, ["0.spare"])


def test_blocks_by_their_names_and_values_before_what_works_in_place() -> None:
    perceptron = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 2))
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    assert (tapped(perceptron, x, ["0"])["0"] < 0).any(), "before the ReLU, which overwrites"
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), 2)
    assert layer_names(encoder) == ("layers.0", "layers.1")
