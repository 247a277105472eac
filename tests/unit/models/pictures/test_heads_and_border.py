import pytest
import torch
from torch import nn

from withstand.core.errors import ConfigError, DataError, MissingExtra
from withstand.core.part import build, describe
from withstand.core.roles import Model
from withstand.models.blocks.heads import ProjectionHead
from withstand.models.pictures.convnets.resnet import ResNet
from withstand.models.pictures.normalized import Normalized
from withstand.models.pictures.timm import Timm


class Flat(Model):
    width = 12

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)


def kinds(head: ProjectionHead) -> str:
    names = {nn.Linear: "L", nn.BatchNorm1d: "N", nn.ReLU: "r"}
    return "".join(
        names[type(step)] + ("b" if isinstance(step, nn.Linear) and step.bias is not None else "")
        for step in head.steps
    )


@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        ({"batch_norm": False, "bias": True}, "LbrLb"),  # SimCLR, MoCo v2
        ({}, "LNrLb"),  # DCL, SimSiam's predictor
        ({"bias": True}, "LbNrLb"),  # BYOL
        ({"last_batch_norm": True, "last_bias": False}, "LNrLN"),  # MoCo v3's projector
        ({"last_bias": False}, "LNrL"),  # MoCo v3's predictor
        ({"layers": 3, "last_batch_norm": True, "last_bias": False}, "LNrLNrLN"),  # SimSiam's projector
        ({"layers": 3, "last_bias": False}, "LNrLNrL"),  # Barlow Twins, VICReg
        ({"layers": 1}, "Lb"),
    ],
)
def test_heads_of_the_papers(settings: dict[str, int], shape: str) -> None:
    head = ProjectionHead(6, 10, 4, **settings)  # type: ignore[arg-type]
    assert kinds(head) == shape
    assert head.width == 4
    assert head(torch.rand(5, 6)).shape == (5, 4)
    widths = [(step.in_features, step.out_features) for step in head.steps if isinstance(step, nn.Linear)]
    assert [inner for _, inner in widths[:-1]] == [10] * (len(widths) - 1)
    if settings.get("last_batch_norm"):
        assert not head.steps[-1].affine
    assert describe(build(describe(head))) == describe(head)


def test_a_head_needs_a_layer() -> None:
    with pytest.raises(ConfigError, match="layers must be at least 1, not 0"):
        ProjectionHead(6, 10, 4, 0)


def test_bytes_and_unit_pictures_mean_the_same() -> None:
    model = Normalized(Flat(), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    pictures = torch.randint(0, 256, (5, 3, 2, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    floating = pictures.double() / 255
    mean, std = torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1), torch.tensor([0.2, 0.3, 0.4]).view(3, 1, 1)
    expected = ((floating - mean) / std).flatten(1).float()
    for x in (pictures, floating.float(), floating):
        torch.testing.assert_close(model(x), expected, rtol=1e-5, atol=1e-6)
    assert model.width == 12
    assert model.double()(pictures).dtype == torch.float64
    assert not model.state_dict(), "mean and std are configuration"


def test_normalising_stays_in_float32_and_keeps_layout_and_gradient() -> None:
    seen = []

    class Spy(Flat):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(x)
            return super().forward(x)

    model = Normalized(Spy(), (0.5,) * 3, (0.25,) * 3)
    x = torch.rand(2, 3, 2, 2, dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        model(x).sum().backward()
    assert seen[0].dtype == torch.float32
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    assert x.grad is not None
    torch.testing.assert_close(x.grad, torch.full_like(x.grad, 4))


def test_the_border_is_guarded() -> None:
    model = Normalized(ResNet(8, 10), (0.5,), (0.25,))
    with pytest.raises(DataError, match=r"must be \(B, 1, H, W\), not \(2, 3, 8, 8\)"):
        model(torch.rand(2, 3, 8, 8))
    with pytest.raises(DataError, match=r"uint8, or floating in \[0, 1\], not torch.int64"):
        model(torch.zeros(2, 1, 8, 8, dtype=torch.int64))
    with pytest.raises(ConfigError, match="equally long"):
        Normalized(Flat(), (0.5,), (0.25, 0.25))


def test_timm_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(MissingExtra, match=r"the network 'resnet18' needs timm: pip install 'withstand\[timm\]'"):
        Timm("resnet18")


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224", "mobilenetv3_small_050"])
def test_timm_encoders(name: str) -> None:
    pytest.importorskip("timm")
    model = Timm(name, channels=1, size=64 if "vit" in name else None)
    assert model(torch.rand(2, 1, 64, 64)).shape == (2, model.width)
    assert describe(build(describe(model))) == describe(model)


@pytest.mark.oracle
def test_timm_mistakes(monkeypatch: pytest.MonkeyPatch) -> None:
    timm = pytest.importorskip("timm")
    with pytest.raises(ConfigError, match="did you mean 'resnet50'"):
        Timm("resnt50")
    with pytest.raises(ConfigError, match=r"no model 'resnet18.a1_in2k': did you mean 'resnet18.a1_in1k'"):
        Timm("resnet18.a1_in2k")
    with pytest.raises(ConfigError, match="leave out size=64"):
        Timm("resnet18", size=64)

    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("no route to host\nand more")

    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(ConfigError, match=r"no published weights for 'resnet18' \(no route to host\)"):
        Timm("resnet18", pretrained=True)
