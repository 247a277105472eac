import pytest
import torch
from torch import nn

from withstand.core.errors import ConfigError
from withstand.core.part import build, describe
from withstand.models.pictures.convnets.resnet import ResNet


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_the_default_is_the_usual_cifar_resnet18() -> None:
    assert count(ResNet()) == 11_168_832
    assert ResNet().width == 512


@pytest.mark.parametrize("depth", [18, 34])
def test_the_large_stem_is_torchvisions_resnet(depth: int) -> None:
    """Same sizes and, with the same weights in the same order, the same features."""
    models = pytest.importorskip("torchvision.models")
    theirs = getattr(models, f"resnet{depth}")()
    theirs.fc = nn.Identity()
    ours = ResNet(64, depth, stem="large")
    # Theirs declares a block's shortcut last, as ours does: tensors line up one by one.
    pairs = list(zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True))
    assert [a.shape for a, _ in pairs] == [b.shape for _, b in pairs]
    for a, b in pairs:
        a.copy_(b)
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("depth", [10, 18, 34])
@pytest.mark.parametrize("width", [8, 16])
def test_narrow_family(width: int, depth: int) -> None:
    model = ResNet(width, depth, channels=1)
    assert model(torch.rand(2, 1, 28, 28)).shape == (2, 8 * width)
    convolutions = [
        module for module in model.modules() if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3)
    ]
    assert len(convolutions) == depth - 1, "depth counts 3 x 3 convolutions and the classifier that is not here"


def test_memory_layouts_agree() -> None:
    model = ResNet(8, 10).eval()
    x = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    plain = model(x)
    last = model.to(memory_format=torch.channels_last)(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(plain, last, rtol=1e-4, atol=1e-5)


def test_zero_init_makes_blocks_the_identity() -> None:
    model = ResNet(8, 18, zero_init=True)
    block = model.blocks[1]
    x = torch.rand(2, 8, 6, 6)
    torch.testing.assert_close(block(x), x)


def test_in_place_steps_leave_the_input_and_gradients_right() -> None:
    model = ResNet(2, 10).double()
    x = torch.rand(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    kept = x.detach().clone()
    assert torch.autograd.gradcheck(model, x, fast_mode=True, nondet_tol=1e-10)
    assert torch.equal(x, kept)


def test_round_trip_and_mistakes() -> None:
    assert describe(build(describe(ResNet(8, 10)))) == describe(ResNet(8, 10))
    with pytest.raises(ConfigError, match="depth must be one of 10, 18, 34, not 50"):
        ResNet(depth=50)
    with pytest.raises(ConfigError, match="did you mean 'small'"):
        ResNet(stem="smal")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="width"):
        ResNet(0)
