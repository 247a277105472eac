"""ViTs from weights in the layout that timm and the official code of MAE, MoCo v3 and DINO share.

Sizes: W width, L patches.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from withstand.core.errors import ConfigError, DataError
from withstand.models.pictures.transformers.vit import ViT, positions

_NAMES = {
    "norm1": "norm1", "attn.qkv": "qkv", "attn.proj": "join", "norm2": "norm2", "mlp.fc1": "widen", "mlp.fc2": "narrow",
}  # fmt: skip
"""Names of a block's layers there, and here."""
_THROWN_AWAY = re.compile(r"(decoder|mask_token|head|fc_norm)\b|decoder_")
"""What is no part of an encoder."""


def published_vit(state: Mapping[str, Tensor], heads: int) -> ViT:
    """Return a `ViT(pooling="cls")` with published weights: its features are the class token, after the last LayerNorm.

    Args:
        state: a state dict, by the names `cls_token`, `pos_embed`, `patch_embed.proj`, `blocks.0.attn.qkv` and so on.
            A decoder, a mask token and a classifier are left out.
        heads: attention heads, which the weights do not tell: 12 of a ViT-B, 16 of a ViT-L and a ViT-H.

    Raises:
        DataError: names or shapes are others, or positions are not the fixed sines and cosines of a square of patches,
            as where they were learnt: networks with learnt ones are had as `timm:NAME:pretrained`.
        ConfigError: the width is no multiple of `heads`.
    """
    kept = {name: value for name, value in state.items() if not _THROWN_AWAY.match(name)}
    needed = ("cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias", "norm.weight", "norm.bias")
    if missing := [name for name in needed if name not in kept]:
        raise DataError(f"these are no weights of a ViT with a class token: they lack {', '.join(missing)}")
    weight = kept["patch_embed.proj.weight"]
    width, channels, patch, other = weight.shape
    if patch != other:
        raise DataError(f"patches must be square, not {patch} x {other}")
    _check_positions(kept.pop("pos_embed"), width)
    depth = len({name.split(".")[1] for name in kept if name.startswith("blocks.")})
    if heads < 1 or width % heads:
        raise ConfigError(f"the width of these weights, {width}, is no multiple of heads={heads!r}")
    network = ViT(patch, width, depth, heads, channels, "cls")
    try:
        network.load_state_dict({_ours(name): value for name, value in kept.items()})
    except RuntimeError as error:
        raise DataError(f"these weights fit no ViT of this layout: {str(error).splitlines()[-1].strip()}") from error
    return network


def _ours(name: str) -> str:
    """Return what a parameter is called here."""
    if name == "cls_token":
        return "cls"
    name = re.sub(r"^patch_embed\.proj\.", "project.", name)
    inner = re.fullmatch(r"(blocks\.\d+)\.(.+)\.(weight|bias)", name)
    return f"{inner[1]}.{_NAMES.get(inner[2], inner[2])}.{inner[3]}" if inner else name


def _check_positions(given: Tensor, width: int) -> None:
    side = round((given.shape[1] - 1) ** 0.5)
    fits = given.shape == (1, side * side + 1, width) and width % 4 == 0
    expected = torch.cat([torch.zeros(1, width), positions(side, side, width)]) if fits else None
    if expected is None or not torch.allclose(given[0].float().cpu(), expected, atol=1e-4):
        raise DataError(
            "pos_embed does not hold the fixed sines and cosines of a square of patches, columns first, with 0 for the "
            "class token: learnt positions do not fit here (take timm:NAME:pretrained)"
        )
