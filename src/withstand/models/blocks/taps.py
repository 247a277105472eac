"""Taps: what a network holds at its layers, read in one pass."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError, nearest
from withstand.core.roles import Model


def tapped(network: nn.Module, x: Tensor, names: Sequence[str]) -> Mapping[str, Tensor]:
    """Return the outputs of named submodules for inputs `x`, averaged over places, `(B, width)` each, without gradient.

    Maps `(B, C, H, W)` are averaged over H and W, tokens `(B, T, W)` over T.

    Args:
        network: run as it is; put it in eval mode for features as users see them.
        x: inputs.
        names: of submodules, as `network.named_modules()` gives them.

    Raises:
        ConfigError: there is no submodule of that name, with the nearest, or the network does not run it.
    """
    found = _outputs(network, x, names)
    for name in names:
        if name not in found:
            raise ConfigError(f"the network does not run its layer {name!r} as a whole: name one inside it")
    return {name: found[name] for name in names}


def with_last_maps(encoder: Model, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return an encoder's features `(B, width)` and the maps `(B, C, H, W)` of its last stage, with gradients.

    Raises:
        ConfigError: as for `with_maps`.
    """
    return with_maps(encoder, x, -1)


def with_maps(encoder: Model, x: Tensor, stage: int) -> tuple[Tensor, Tensor]:
    """Return an encoder's features `(B, width)` and the maps `(B, C, H, W)` of a stage, with gradients.

    Args:
        encoder: a network of stages.
        x: its inputs.
        stage: place in `encoder.stages`; negative ones count from the end.

    Raises:
        ConfigError: the encoder has no stages, or none so numbered, or this one gives no maps.
    """
    kind = type(encoder).__name__
    if not encoder.stages:
        raise ConfigError(f"{kind} has no stages of maps: take a residual network, say resnet")
    if not -len(encoder.stages) <= stage < len(encoder.stages):
        raise ConfigError(f"{kind} has {len(encoder.stages)} stages, and none numbered {stage}")
    features, (maps,) = with_layers(encoder, x, [encoder.stages[stage]])
    if maps.dim() != 4:
        raise ConfigError(f"stage {encoder.stages[stage]!r} of {kind} gives no maps (B, C, H, W)")
    return features, maps


def with_layers(encoder: Model, x: Tensor, names: Sequence[str]) -> tuple[Tensor, list[Tensor]]:
    """Return an encoder's features `(B, width)` and what named submodules give on the way there, with gradients.

    Args:
        encoder: any.
        x: its inputs.
        names: of submodules, as `encoder.named_modules()` gives them; each is run once, and gives a tensor.

    Raises:
        ConfigError: there is no such submodule, or it is not run once, or gives no tensor.
    """
    modules = dict(encoder.named_modules())
    kept: dict[str, list[Tensor]] = {name: [] for name in names}
    hooks = []
    for name in names:
        if name not in modules:
            raise ConfigError(f"there is no layer {name!r}: {nearest(name, modules)}")

        def keep(module: nn.Module, inputs: object, output: Tensor, name: str = name) -> None:
            kept[name].append(output)

        hooks.append(modules[name].register_forward_hook(keep))
    try:
        features: Tensor = encoder(x)
    finally:
        for hook in hooks:
            hook.remove()
    for name, found in kept.items():
        if len(found) != 1 or not isinstance(found[0], Tensor):
            raise ConfigError(f"layer {name!r} of {type(encoder).__name__} gives no maps (B, C, H, W), nor tokens")
    return features, [kept[name][0] for name in names]


def block_names(encoder: Model) -> tuple[str, ...]:
    """Return the names of an encoder's stages, or else of its blocks, as those of a ViT, in their order."""
    if encoder.stages:
        return encoder.stages
    modules = dict(encoder.named_modules())
    return tuple(name for name in layer_names(encoder) if type(modules[name]).__name__.endswith(_BLOCKS))


_BLOCKS = ("Block", "Layer", "Bottleneck")
"""How the field names the classes of what is repeated in a network."""


def layer_names(network: nn.Module) -> tuple[str, ...]:
    """Return the names of a network's blocks and linear layers in order: those worth a probe of their own."""
    wanted: list[str] = []
    for name, module in network.named_modules():
        inside = any(name.startswith(f"{outer}.") for outer in wanted)
        if name and not inside and (type(module).__name__.endswith(_BLOCKS) or isinstance(module, nn.Linear)):
            wanted.append(name)
    return tuple(wanted)


def row_layers(network: nn.Module, x: Tensor) -> tuple[str, ...]:
    """Return those of `layer_names` that give one vector for each of a few inputs `x`."""
    found = _outputs(network, x, layer_names(network))
    return tuple(name for name, value in found.items() if value.dim() == 2 and len(value) == len(x))


def _outputs(network: nn.Module, x: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """Return what `tapped` does, without submodules that are not run as a whole or give no tensor."""
    modules = dict(network.named_modules())
    found: dict[str, Tensor] = {}
    hooks = []
    for name in names:
        if name not in modules:
            raise ConfigError(f"there is no layer {name!r}: {nearest(name, modules)}")

        def keep(module: nn.Module, inputs: object, output: object, name: str = name) -> None:
            if isinstance(output, Tensor):
                found[name] = _pooled(output.detach())

        hooks.append(modules[name].register_forward_hook(keep))
    try:
        with torch.no_grad():
            network(x)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _pooled(value: Tensor) -> Tensor:
    if value.dim() == 4:
        return value.mean((2, 3))
    # A copy: what comes next may work in place.
    return value.mean(1) if value.dim() == 3 else value.clone()
