"""Weights in the published layout give the features of the published forward pass, written out here."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d, gelu, layer_norm, linear

from withstand.core.errors import ConfigError, DataError
from withstand.models.pictures.transformers.published_vit import published_vit

WIDTH, PATCH, SIDE, HEADS, DEPTH = 24, 4, 3, 2, 2


def codes() -> Tensor:
    """MAE's positions in float64: by the column, then by the row, sines and then cosines; 0 for the class token."""
    rates = [1 / 10000 ** (k / (WIDTH / 4)) for k in range(WIDTH // 4)]
    rows = [[0.0] * WIDTH]
    for row in range(SIDE):
        for column in range(SIDE):
            rows.append([f(at * rate) for at in (column, row) for f in (math.sin, math.cos) for rate in rates])
    return torch.tensor(rows, dtype=torch.float64)[None]


def weights(decoder: bool = True) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {"cls_token": (1, 1, WIDTH), "patch_embed.proj.weight": (WIDTH, 3, PATCH, PATCH)}
    shapes |= {"patch_embed.proj.bias": (WIDTH,), "norm.weight": (WIDTH,), "norm.bias": (WIDTH,)}
    layers = {"norm1": (WIDTH,), "norm2": (WIDTH,), "attn.qkv": (3 * WIDTH, WIDTH), "attn.proj": (WIDTH, WIDTH)}
    layers |= {"mlp.fc1": (4 * WIDTH, WIDTH), "mlp.fc2": (WIDTH, 4 * WIDTH)}
    for block in range(DEPTH):
        for name, shape in layers.items():
            shapes |= {f"blocks.{block}.{name}.weight": shape, f"blocks.{block}.{name}.bias": shape[:1]}
    if decoder:
        shapes |= {"mask_token": (1, 1, 8), "decoder_pos_embed": (1, 10, 8), "decoder_blocks.0.norm1.weight": (8,)}
        shapes |= {"head.weight": (5, WIDTH), "head.bias": (5,), "decoder_pred.bias": (48,)}
    state = {name: torch.randn(shape, generator=generator, dtype=torch.float64) * 0.3 for name, shape in shapes.items()}
    return state | {"pos_embed": codes()}


def published(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """The forward pass of timm and of MAE's `models_vit`, to the class token."""
    tokens = conv2d(x, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=PATCH)
    tokens = torch.cat([state["cls_token"].expand(len(x), -1, -1), tokens.flatten(2).mT], 1) + state["pos_embed"]

    def normal(name: str, values: Tensor) -> Tensor:
        return layer_norm(values, (WIDTH,), state[f"{name}.weight"], state[f"{name}.bias"], 1e-6)

    def layer(name: str, values: Tensor) -> Tensor:
        return linear(values, state[f"{name}.weight"], state[f"{name}.bias"])

    for block in range(DEPTH):
        here = f"blocks.{block}"
        qkv = layer(f"{here}.attn.qkv", normal(f"{here}.norm1", tokens))
        query, key, value = qkv.reshape(len(x), -1, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        attention = (query @ key.mT * (WIDTH // HEADS) ** -0.5).softmax(-1)
        tokens = tokens + layer(f"{here}.attn.proj", (attention @ value).transpose(1, 2).flatten(2))
        inner = gelu(layer(f"{here}.mlp.fc1", normal(f"{here}.norm2", tokens)))
        tokens = tokens + layer(f"{here}.mlp.fc2", inner)
    return normal("norm", tokens)[:, 0]


def test_features_are_those_of_the_published_forward_pass() -> None:
    state = {name: value if name == "pos_embed" else value.float().double() for name, value in weights().items()}
    x = torch.rand(3, 3, 12, 12, dtype=torch.float64)
    network = published_vit(state, HEADS).double()
    torch.testing.assert_close(network(x), published(state, x), rtol=1e-6, atol=1e-6)  # positions are float32
    assert network.prefix == 1


def test_other_weights_are_refused() -> None:
    state = weights()
    with pytest.raises(DataError, match=r"lack cls_token, norm\.weight"):
        published_vit({name: value for name, value in state.items() if name not in ("cls_token", "norm.weight")}, HEADS)
    with pytest.raises(DataError, match="learnt positions do not fit"):
        published_vit(state | {"pos_embed": codes() + 0.01}, HEADS)
    with pytest.raises(DataError, match="learnt positions do not fit"):
        published_vit(state | {"pos_embed": codes()[:, :8]}, HEADS)
    transposed = codes()[:, 1:].view(1, SIDE, SIDE, WIDTH).transpose(1, 2).flatten(1, 2)
    with pytest.raises(DataError, match="columns first"):
        published_vit(state | {"pos_embed": torch.cat([codes()[:, :1], transposed], 1)}, HEADS)
    with pytest.raises(DataError, match=r"fit no ViT of this layout: .*gamma"):
        published_vit(state | {"blocks.0.ls1.gamma": torch.ones(WIDTH)}, HEADS)
    with pytest.raises(DataError, match="fit no ViT"):
        published_vit({name: value for name, value in state.items() if name != "blocks.1.attn.proj.bias"}, HEADS)
    with pytest.raises(ConfigError, match="no multiple of heads=5"):
        published_vit(state, 5)
