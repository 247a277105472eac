"""Sizes, order of pixels, independence of batch mates; the kernel of reduction; the critic's sizes; frozen features."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import pixel_unshuffle

from withstand.core.errors import ConfigError, DataError
from withstand.engine.export import to_onnx, to_safetensors
from withstand.models.pictures.normalized import Normalized
from withstand.models.restoration.critic import Critic
from withstand.models.restoration.layer_maps import VGG_LAYERS, ExportedMaps, VGGMaps
from withstand.models.restoration.resampling import divisible, enlarged, reduced
from withstand.models.restoration.srresnet import SRResNet, Upscaler


@pytest.mark.parametrize("scale", [2, 4, 8])
@pytest.mark.parametrize("sides", [(5, 7), (4, 6)])
def test_sides_are_exactly_scale_times_as_long(scale: int, sides: tuple[int, int]) -> None:
    network = Upscaler(SRResNet(scale, width=2, blocks=1)).eval()
    made = network(torch.rand(2, 3, *sides))
    assert made.shape == (2, 3, scale * sides[0], scale * sides[1])
    assert float(made.detach().min()) >= 0
    assert float(made.detach().max()) <= 1


def test_the_papers_size_and_layers() -> None:
    network = SRResNet()
    assert sum(value.numel() for value in network.parameters()) == 1_547_350
    assert sum(isinstance(layer, nn.Conv2d) for layer in network.modules()) == 1 + 2 * 16 + 1 + 2 + 1
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in SRResNet(norm="none", blocks=1).modules())


def test_pixels_of_a_square_lie_side_by_side() -> None:
    """With a last layer that takes one channel as it is, phase (i, j) of the picture is channel 2 i + j."""
    network = SRResNet(2, channels=1, width=1, blocks=1, norm="none").double()
    shuffled = network.up[0]
    with torch.no_grad():
        shuffled[0].weight.zero_()
        shuffled[0].bias.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
        network.last.weight.zero_()
        network.last.weight[0, 0, 4, 4] = 1
        network.last.bias.zero_()
    made = network.enlarge(torch.rand(1, 1, 3, 2, dtype=torch.float64))
    assert torch.equal(pixel_unshuffle(made, 2)[0, :, 1, 1], torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64))
    assert made[0, 0, :2, :2].tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_a_network_that_adds_nothing_gives_the_bicubic_picture() -> None:
    network = SRResNet(2, width=2, blocks=1, norm="none", global_skip=True)
    nn.init.zeros_(network.last.weight)
    nn.init.zeros_(network.last.bias)
    x = 0.2 + 0.6 * torch.rand(1, 3, 6, 6)
    torch.testing.assert_close(Upscaler(network)(x), enlarged(x, 2).clamp(0, 1))


def test_a_picture_does_not_depend_on_its_batch_mates() -> None:
    network = Upscaler(SRResNet.example()).eval()
    x = torch.rand(4, 3, 6, 6)
    torch.testing.assert_close(network(x)[:1], network(x[:1]), rtol=0, atol=1e-6)


def test_pictures_are_made_small_as_pillow_makes_them() -> None:
    pixels = np.random.default_rng(0).integers(90, 166, (16, 24, 3), dtype=np.uint8)  # nothing is cut off on the way
    theirs = np.asarray(Image.fromarray(pixels).resize((6, 4), Image.Resampling.BICUBIC)).astype(int)
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None].double() / 255
    ours = (reduced(x, 4)[0] * 255).round().permute(1, 2, 0).numpy().astype(int)
    assert np.abs(ours - theirs).max() <= 1
    larger = np.asarray(Image.fromarray(pixels).resize((48, 32), Image.Resampling.BICUBIC)).astype(int)
    ours = (enlarged(x, 2)[0].clamp(0, 1) * 255).round().permute(1, 2, 0).numpy().astype(int)
    assert np.abs(ours - larger).max() <= 1
    assert divisible(torch.zeros(1, 3, 7, 9), 4).shape == (1, 3, 4, 8)
    with pytest.raises(DataError, match="7 x 9 cannot be made smaller by 4"):
        reduced(torch.zeros(1, 3, 7, 9), 4)
    with pytest.raises(DataError, match="3 x 9 are too small"):
        divisible(torch.zeros(1, 3, 3, 9), 4)


def test_the_critic_of_the_paper_and_of_other_sizes() -> None:
    with torch.device("meta"):
        critic = Critic()
    assert [layer.stride[0] for layer in critic.maps if isinstance(layer, nn.Conv2d)] == [1, 2, 1, 2, 1, 2, 1, 2]
    assert [layer.out_channels for layer in critic.maps if isinstance(layer, nn.Conv2d)] == [
        64, 64, 128, 128, 256, 256, 512, 512,
    ]  # fmt: skip
    assert critic.judge[0].in_features == 512 * 6 * 6
    assert critic.maps(torch.zeros(2, 3, 96, 96, device="meta")).shape[2:] == (6, 6)
    for side in (8, 11, 24):
        assert Critic.example()(torch.rand(3, 3, side, side)).shape == (3,)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="scale must be one of 2, 4, 8, not 3"):
        SRResNet(3)
    with pytest.raises(ConfigError, match="did you mean 'batch'"):
        SRResNet(2, norm="bach")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="blocks must be at least 1"):
        SRResNet(2, blocks=0)


def test_maps_of_an_exported_encoder(tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = Normalized.example().eval()
    path = str(to_safetensors(encoder, tmp_path / "encoder.safetensors"))
    maps = ExportedMaps(path)
    assert not list(maps.parameters())
    assert not maps.state_dict(), "the weights lie in the file that is named"
    x = torch.rand(2, 3, 8, 8, requires_grad=True)
    kept: list[torch.Tensor] = []
    dict(encoder.named_modules())[encoder.stages[-1]].register_forward_hook(lambda m, i, output: kept.append(output))
    encoder(x)
    torch.testing.assert_close(maps(x), kept[0])
    (slope,) = torch.autograd.grad(maps(x).square().sum(), x)
    assert float(slope.abs().max()) > 0
    assert maps.double()(x.double()).dtype == torch.float64
    with pytest.raises(ConfigError, match=r"has no layer 'encoder\.stemm': did you mean 'encoder\.stem'"):
        ExportedMaps(path, "encoder.stemm")
    with pytest.raises(DataError, match="there is no"):
        ExportedMaps(str(tmp_path / "other.safetensors"))


def test_a_file_that_holds_no_vgg19_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no file .*vgg19\.pth with VGG19's weights"):
        VGGMaps(str(tmp_path / "vgg19.pth"))
    torch.save({"features.0.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(DataError, match="does not hold the weights of torchvision's vgg19"):
        VGGMaps(str(tmp_path / "other.pth"))
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(DataError, match="cannot be read as weights"):
        VGGMaps(str(tmp_path / "text.pth"))


def test_vgg19_ends_with_the_relus_of_the_paper(tmp_path: Path) -> None:
    from torchvision.models import vgg19

    with torch.device("meta"):
        layers = vgg19(weights=None).features
    for name, (poolings, convolutions) in {"vgg22": (1, 2), "vgg54": (4, 4)}.items():
        before = list(layers[: VGG_LAYERS[name]])  # type: ignore[index]
        last = max(place for place, layer in enumerate(before) if isinstance(layer, nn.MaxPool2d))
        assert sum(isinstance(layer, nn.MaxPool2d) for layer in before) == poolings
        assert sum(isinstance(layer, nn.Conv2d) for layer in before[last:]) == convolutions
        assert isinstance(before[-1], nn.ReLU)
    early = {name: torch.full(value.shape, 0.01) for name, value in layers[:9].state_dict().items()}
    torch.save({f"features.{name}": value for name, value in early.items()}, tmp_path / "vgg19.pth")
    maps = VGGMaps(str(tmp_path / "vgg19.pth"), "vgg22")
    assert maps(torch.rand(1, 3, 8, 8)).shape == (1, 128, 4, 4)
    assert maps(torch.rand(1, 1, 8, 8)).shape == (1, 128, 4, 4)
    assert not maps.state_dict()


@pytest.mark.thorough
def test_as_onnx_it_takes_pictures_of_any_size(tmp_path: Path) -> None:
    """`to_onnx` compares its outputs with torch's at the size that it was tried on, and at another."""
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    network = Upscaler(SRResNet(2, width=2, blocks=1, norm="none", global_skip=True)).eval()
    path = to_onnx(network, torch.rand(2, 3, 6, 7), tmp_path / "generator.onnx")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    x = torch.rand(3, 3, 9, 5)
    found = torch.from_numpy(session.run(None, {"x": x.numpy()})[0])
    torch.testing.assert_close(found, network(x).detach(), rtol=1e-4, atol=1e-5)
