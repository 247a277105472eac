"""An encoder with style layers between its stages, in place of submodules: they survive copies, files and exports."""

import copy
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from withstand.core.devices.device import device_of_network
from withstand.core.errors import ConfigError, nearest
from withstand.core.roles import Model
from withstand.core.victims.victim import Victim
from withstand.models.blocks.normalization.style import AdvStyle, StyleLayer
from withstand.models.pictures.normalized import Normalized


class Followed(nn.Module):
    """A module, and a style layer on what it gives."""

    def __init__(self, module: nn.Module, style: StyleLayer) -> None:
        super().__init__()
        self.module, self.style = module, style

    def forward(self, x: Tensor) -> Tensor:
        maps: Tensor = self.style(self.module(x))
        return maps


class Styled(Model):
    """An encoder whose maps get other styles in training; in eval mode it is the encoder.

    The encoder that is handed over is changed: its submodules of those names are replaced.

    Args:
        encoder: gives features of pictures.
        layers: submodules that a style layer follows, by their names in `encoder.named_modules()`; see `stages_of`.
        style: the kind of layer; its channels are of no matter.
        shape: one picture's (C, H, W), from which the maps' sizes follow.

    Raises:
        ConfigError: no such submodule, or one that gives no maps of more than one place.
    """

    def __init__(
        self, encoder: Model, layers: tuple[str, ...], style: StyleLayer, *, shape: tuple[int, int, int]
    ) -> None:
        super().__init__()
        if not layers:
            raise ConfigError("layers must name at least one submodule of the encoder")
        if any(isinstance(module, Followed) for module in encoder.modules()):
            raise ConfigError("the encoder has style layers already: hand over one without")
        maps = maps_after(encoder, layers, shape)
        for name, (channels, height, width) in maps.items():
            if height * width < 2:
                raise ConfigError(
                    f"{name!r} gives maps of 1 x 1 for pictures of {shape[1]} x {shape[2]}, which have no deviation: "
                    "name earlier layers"
                )
            parent, _, child = name.rpartition(".")
            setattr(encoder.get_submodule(parent), child, Followed(encoder.get_submodule(name), style.sized(channels)))
        self.encoder, self.width = encoder, encoder.width

    @classmethod
    def example(cls) -> Self:
        encoder, shape = Normalized.example(), (3, 8, 8)
        return cls(encoder, stages_of(encoder, shape), AdvStyle(adversarial=1.0, batch=0.0), shape=shape)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.encoder(x)
        return features

    def plain(self) -> Model:
        """Return a copy of the encoder without style layers: its state dict is that of an encoder that had none."""
        bare = copy.deepcopy(self.encoder)
        for name, module in list(bare.named_modules()):
            if isinstance(module, Followed):
                parent, _, child = name.rpartition(".")
                setattr(bare.get_submodule(parent), child, module.module)
        return bare


def stages_of(encoder: Model, shape: tuple[int, int, int]) -> tuple[str, ...]:
    """Return the submodules of an encoder after which its stages' maps are there, those with more than one place.

    They are the paper's best places: after the first convolution, the max-pool, and each stage.

    Raises:
        ConfigError: the encoder says of no stages.
    """
    if not encoder.stages:
        raise ConfigError(
            f"{type(encoder).__name__} says of no stages where styles could change: take a residual network, or name "
            "its layers"
        )
    maps = maps_after(encoder, encoder.stages, shape)
    return tuple(name for name, (_, height, width) in maps.items() if height * width > 1)


def maps_after(encoder: Model, names: Sequence[str], shape: tuple[int, int, int]) -> dict[str, tuple[int, int, int]]:
    """Return the (channels, height, width) of what submodules give, for one picture of a shape, by name.

    Raises:
        ConfigError: no such submodule, or one that is not run or gives no maps.
    """
    known = dict(encoder.named_modules())
    found: dict[str, tuple[int, ...]] = {}
    hooks = []
    for name in names:
        if not name or name not in known:
            raise ConfigError(f"the encoder has no layer {name!r}: {nearest(name, [one for one in known if one])}")

        def note(_: nn.Module, __: object, output: object, name: str = name) -> None:
            found[name] = tuple(output.shape[1:]) if isinstance(output, Tensor) else ()

        hooks.append(known[name].register_forward_hook(note))
    try:
        with Victim(encoder).held(), torch.no_grad():
            encoder(torch.zeros(1, *shape, device=device_of_network(encoder)))
    finally:
        for hook in hooks:
            hook.remove()
    for name in names:
        if len(found.get(name, ())) != 3:
            raise ConfigError(f"the encoder's layer {name!r} gives no maps (B, C, H, W) whose style could change")
    return {name: (found[name][0], found[name][1], found[name][2]) for name in names}
