"""Blocks that are computed again in the backward pass: the same gradients and statistics, and less that is kept."""

import copy

import pytest
import torch
from torch import nn

from withstand.core.roles import Model
from withstand.models.pictures.convnets.resnet import ResNet
from withstand.models.pictures.transformers.vit import ViT


def networks(kind: str) -> tuple[Model, Model]:
    torch.manual_seed(0)
    plain: Model = ViT(4, 24, 3, 3, pooling="cls") if kind == "vit" else ResNet(4, 10)
    again: Model = ViT(4, 24, 3, 3, pooling="cls", recompute=True) if kind == "vit" else ResNet(4, 10, recompute=True)
    again.load_state_dict(plain.state_dict())
    return plain, again


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_gradients_and_statistics_are_the_same(kind: str) -> None:
    x = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    plain, again = networks(kind)
    for network in (plain, again):
        network.train()
        for _ in range(2):
            network(x).square().sum().backward()
    for (name, one), other in zip(plain.named_parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad, rtol=1e-6, atol=1e-6, msg=name)
    for (name, one), other in zip(plain.named_buffers(), again.buffers(), strict=True):
        assert torch.equal(one, other), name
    assert torch.equal(plain.eval()(x), again.eval()(x))


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_less_is_kept_for_the_backward_pass(kind: str) -> None:
    x = torch.rand(6, 3, 16, 16)
    kept: list[int] = []
    for network in networks(kind):
        held: dict[int, int] = {}

        def pack(value: torch.Tensor, held: dict[int, int] = held) -> torch.Tensor:
            if not isinstance(value, nn.Parameter):
                held[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
            return value

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
            loss = network.train()(x).sum()
        kept.append(sum(held.values()))
        loss.backward()
    assert kept[1] < kept[0] / 2


def test_a_copy_and_a_pass_without_gradients_work() -> None:
    network = copy.deepcopy(networks("vit")[1])
    with torch.no_grad():
        assert network(torch.rand(2, 3, 16, 16)).shape == (2, 24)
