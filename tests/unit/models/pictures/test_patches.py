"""Patches are cut where they lie, and an encoder that sees some of them sees nothing of the others."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError, DataError
from withstand.core.random import Draws, isolated
from withstand.models.blocks.pick import pick
from withstand.models.pictures.convnets.resnet import ResNet
from withstand.models.pictures.normalized import Normalized
from withstand.models.pictures.timm import Timm
from withstand.models.pictures.transformers.patches import TokenEncoder, cut, joined, with_patches
from withstand.models.pictures.transformers.vit import ViT, positions

CHANNELS = 3


def pictures(count: int = 5, height: int = 8, width: int = 12) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.rand(count, CHANNELS, height, width, generator=generator, dtype=torch.float64)


def encoders() -> dict[str, TokenEncoder]:
    found: dict[str, TokenEncoder] = {}
    with isolated("patches"):
        for pooling in ("mean", "cls"):
            vit = ViT(4, 24, 2, 3, pooling=pooling)  # type: ignore[arg-type]
            found[pooling] = vit.double()
            found[f"{pooling}, normalized"] = Normalized(vit, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)).double()
    return found


ENCODERS = encoders()


@pytest.fixture(params=ENCODERS)
def encoder(request: pytest.FixtureRequest) -> TokenEncoder:
    return ENCODERS[request.param]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_patch_holds_its_pixels_by_row_column_and_channel(layout: torch.memory_format) -> None:
    x = pictures().contiguous(memory_format=layout)
    patches = cut(x, 4)
    assert patches.shape == (5, 6, 48)
    for place in range(6):
        row, column = divmod(place, 3)
        whole = x[:, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        assert torch.equal(patches[:, place].view(5, 4, 4, CHANNELS), whole.permute(0, 2, 3, 1))
    keep = torch.tensor([[5, 0, 3]]).expand(5, -1)
    assert torch.equal(cut(x, 4, keep), pick(patches, keep))


def test_patches_join_to_the_picture_that_they_were_cut_from() -> None:
    x = pictures()
    assert torch.equal(joined(cut(x, 4), 2, 3, CHANNELS), x)


def test_pixels_are_what_the_patches_are_of(encoder: TokenEncoder) -> None:
    torch.testing.assert_close(encoder.pixels(encoder.patches(pictures()), (2, 3)), pictures())


def test_patches_that_do_not_tile_are_refused(encoder: TokenEncoder) -> None:
    for call in (encoder.patches, encoder.tokens, encoder.grid):
        with pytest.raises(DataError, match="patches of 4 pixels do not tile pictures of 8 x 10"):
            call(pictures()[..., :10])


def test_gather_then_project_is_project_then_gather(encoder: TokenEncoder) -> None:
    """A network without blocks, so that tokens do not meet: what it makes of a patch does not hang on the others."""
    vit = with_patches(getattr(encoder, "encoder", encoder))
    assert isinstance(vit, ViT)
    keep = Draws(0, torch.arange(5)).permutations(6)[:, :4]
    blocks, vit.blocks = vit.blocks, torch.nn.Sequential()
    try:
        whole, some = encoder.tokens(pictures()), encoder.tokens(pictures(), keep)
    finally:
        vit.blocks = blocks
    before = encoder.prefix
    torch.testing.assert_close(some[:, before:], pick(whole[:, before:], keep))
    assert torch.equal(some[:, :before], whole[:, :before])
    projected = vit.project(encoder.normalized(pictures()) if isinstance(encoder, Normalized) else pictures())
    placed = projected.flatten(2).transpose(1, 2) + positions(2, 3, vit.width).double()
    torch.testing.assert_close(some[:, before:], vit.norm(pick(placed, keep)))


def test_all_patches_in_order_are_the_whole_picture(encoder: TokenEncoder) -> None:
    everything = torch.arange(6).expand(5, -1)
    torch.testing.assert_close(encoder.tokens(pictures(), everything), encoder.tokens(pictures()))


def test_the_order_of_the_seen_patches_orders_the_tokens_alone(encoder: TokenEncoder) -> None:
    keep = torch.tensor([[4, 1, 3]]).expand(5, -1)
    tokens, other = (encoder.tokens(pictures(), order) for order in (keep, keep[:, [2, 0, 1]]))
    before = encoder.prefix
    torch.testing.assert_close(other[:, :before], tokens[:, :before])
    torch.testing.assert_close(other[:, before:], tokens[:, before:][:, [2, 0, 1]])


def test_hidden_patches_tell_nothing_and_seen_ones_do(encoder: TokenEncoder) -> None:
    keep = torch.tensor([[0, 4]]).expand(5, -1)
    x = pictures().requires_grad_()
    encoder.tokens(x, keep).square().sum().backward()
    assert x.grad is not None
    moved = cut(x.grad, 4).abs().sum(2) > 0
    assert moved[:, [0, 4]].all()
    assert not moved[:, [1, 2, 3, 5]].any()


def test_features_are_the_class_token_or_the_mean_of_the_patches(encoder: TokenEncoder) -> None:
    tokens, features = encoder.tokens(pictures()), encoder(pictures())
    assert tokens.shape == (5, encoder.prefix + 6, encoder.width)
    torch.testing.assert_close(features, tokens[:, 0] if encoder.prefix else tokens.mean(1))


def test_patches_of_a_wrapper_are_of_normalised_pictures() -> None:
    encoder, x = ENCODERS["mean, normalized"], pictures()
    mean, std = (torch.tensor(values).double().view(3, 1, 1) for values in ((0.4, 0.5, 0.6), (0.2, 0.3, 0.4)))
    torch.testing.assert_close(encoder.patches(x), cut((x - mean) / std, 4), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("wrapped", [False, True])
def test_networks_without_patches_are_refused_by_name(wrapped: bool) -> None:
    network = Normalized(ResNet(2, 10), (0.5,) * 3, (0.25,) * 3) if wrapped else ResNet(2, 10)
    with pytest.raises(ConfigError) as refused:
        with_patches(network)
    assert str(refused.value) == "a ResNet has no patches to hide: use model vit or timm:vit_*"
    if isinstance(network, Normalized):
        with pytest.raises(ConfigError, match="a ResNet has no patches"):
            network.tokens(pictures())


def test_weights_of_before_the_projection_had_its_name_still_fit() -> None:
    network, other = ENCODERS["cls, normalized"], encoders()["cls, normalized"]
    state = {name.replace("project.", "patches."): value + 1 for name, value in network.state_dict().items()}
    assert "encoder.patches.weight" in state
    other.load_state_dict(state)
    for name, value in network.state_dict().items():
        assert torch.equal(other.state_dict()[name], value + 1)


class LikeTimms(nn.Module):
    """What of timm's VisionTransformer its adapter uses, on our own ViT: a class token and a register come first."""

    num_features, num_prefix_tokens = 24, 2

    def __init__(self) -> None:
        super().__init__()
        vit = ViT(4, 24, 2, 3)
        self.patch_embed = nn.Sequential(vit.project, nn.Flatten(2))
        self.patch_embed.patch_size, self.patch_embed.img_size = (4, 4), (8, 12)  # type: ignore[assignment]
        self.patch_embed.strict_img_size = True  # type: ignore[assignment]
        self.first, self.place = nn.Parameter(torch.rand(1, 2, 24)), nn.Parameter(torch.rand(1, 6, 24))
        self.patch_drop, self.norm_pre, self.blocks, self.norm = nn.Identity(), nn.Identity(), vit.blocks, vit.norm

    def _pos_embed(self, x: Tensor) -> Tensor:
        return torch.cat([self.first.expand(len(x), -1, -1), x.transpose(1, 2) + self.place], 1)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.norm(self.blocks(self._pos_embed(self.patch_embed(x))))[:, 0]
        return features


def test_timms_vits_can_hide_patches_and_other_networks_of_it_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    timm = SimpleNamespace(
        list_models=lambda pretrained=False: ["vit_like", "resnet_like"],
        create_model=lambda name, **_: LikeTimms() if name == "vit_like" else ResNetLike(),
        models=SimpleNamespace(vision_transformer=SimpleNamespace(VisionTransformer=LikeTimms)),
    )
    monkeypatch.setitem(__import__("sys").modules, "timm", timm)
    encoder = Timm("vit_like").double()
    assert (encoder.patch, encoder.prefix, encoder.channels, encoder.grid(pictures())) == (4, 2, 3, (2, 3))
    tokens = with_patches(encoder).tokens(pictures())
    assert tokens.shape == (5, 8, 24)
    torch.testing.assert_close(tokens[:, 0], encoder(pictures()))
    test_hidden_patches_tell_nothing_and_seen_ones_do(encoder)
    test_the_order_of_the_seen_patches_orders_the_tokens_alone(encoder)
    test_all_patches_in_order_are_the_whole_picture(encoder)
    for read in (encoder, encoder.tokens):
        with pytest.raises(DataError, match="vit_like is built for pictures of 8 x 12 pixels, not 8 x 8: bring "):
            read(pictures(width=8))
    for call in (lambda: with_patches(Timm("resnet_like")), lambda: Timm("resnet_like").tokens(pictures())):
        with pytest.raises(ConfigError, match="resnet_like has no patches to hide"):
            call()


class ResNetLike(nn.Module):
    num_features = 8


@pytest.mark.oracle
def test_tokens_are_timms_own() -> None:
    pytest.importorskip("timm")
    encoder = Timm("vit_tiny_patch16_224", size=64).eval()
    x = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(encoder.tokens(x), encoder.model.forward_features(x))  # type: ignore[operator]
    assert (encoder.patch, encoder.prefix, encoder.grid(x)) == (16, 1, (4, 4))
    with pytest.raises(DataError, match="is built for pictures of 64 x 64 pixels, not 48 x 48"):
        encoder(x[..., :48, :48])
    with pytest.raises(ConfigError, match="resnet18 has no patches"):
        with_patches(Timm("resnet18"))
